"""benchmarks.ahead without a compiler for GPUs: what it counts in a program's text."""

import jax
import pytest

from benchmarks import ahead

TEXT = """
%body (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %add.1 = f32[4]{0} fusion(%x), kind=kLoop
}

ENTRY %main (a: bf16[10,3], b: f32[4]) -> f32[4] {
  %a = bf16[10,3]{1,0} parameter(0)
  %b = f32[4]{0} parameter(1)
  %gemm_fusion.1 = (f32[10]{0}, s32[10]{0}) fusion(%a, %b), kind=kCustom
  %first = f32[10]{0} get-tuple-element(%gemm_fusion.1), index=0
  %after = pred[]{} fusion(%gemm_fusion.1), kind=kLoop
  ROOT %while.1 = f32[4]{0} while(%b), condition=%less, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""


def test_bytes_are_those_of_instructions_and_of_loops_as_often_as_they_turn():
    product, after, turn = 60 + 16 + 80, 80 + 1, 32
    assert ahead.bytes_of(TEXT, "ENTRY") == product + after + 5 * turn
    assert ahead.bytes_of(TEXT, "ENTRY", lambda name, line: "gemm" in name) == product


@pytest.mark.skipif(any(one.platform == "gpu" for one in jax.devices()), reason="has such a compiler")
def test_without_a_compiler_it_says_what_to_install():
    with pytest.raises(SystemExit, match="cuda13"):
        ahead.devices(1)
