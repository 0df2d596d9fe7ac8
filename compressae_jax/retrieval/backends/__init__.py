"""What scores rows, one module a way; `lists` needs lists beside the rows, the others take rows as they are stored."""
