"""The codes in other search engines: one file an engine, which is imported when it is used; see docs/SERVING.md.

`stored` is what an engine gets of a row, `signs` what those get that know no negative numbers, `terms` a part of a
query, `rescoring` the second look that a part needs, `comparing` the judge: our exact search. `sentence_transformers`
has models there, from text to codes, and theirs here.
"""
