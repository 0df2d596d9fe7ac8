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


GATHERS = """
%fused_gather (param_0: f32[100,8], param_1: s32[3]) -> f32[3,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = s32[3]{0} parameter(1)
  %bitcast.1 = f32[8,100]{0,1} bitcast(%param_0)
  %gather.1 = f32[3,8]{1,0} gather(%bitcast.1, %param_1), offset_dims={1}
  ROOT %negate.1 = f32[3,8]{1,0} negate(%gather.1)
}

%fused_both (param_0: f32[100,8], param_1: s32[3]) -> f32[100,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = s32[3]{0} parameter(1)
  %gather.2 = f32[3,8]{1,0} gather(%param_0, %param_1), offset_dims={1}
  ROOT %add.1 = f32[100,8]{1,0} add(%param_0, %gather.2)
}

%fused_scatter (param_0: f32[100,8], param_1: s32[3], param_2: f32[3,8]) -> f32[100,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = s32[3]{0} parameter(1)
  %param_2 = f32[3,8]{1,0} parameter(2)
  ROOT %scatter.1 = f32[100,8]{1,0} scatter(%param_0, %param_1, %param_2), to_apply=%add
}

ENTRY %main (a: f32[100,8], i: s32[3]) -> f32[100,8] {
  %a = f32[100,8]{1,0} parameter(0)
  %i = s32[3]{0} parameter(1)
  %some = f32[3,8]{1,0} fusion(%a, %i), kind=kLoop, calls=%fused_gather
  %all = f32[100,8]{1,0} fusion(%a, %i), kind=kLoop, calls=%fused_both
  ROOT %input_scatter_fusion = f32[100,8]{1,0} fusion(%all, %i, %some), kind=kInput, calls=%fused_scatter
}
"""


def test_what_is_gathered_counts_and_what_is_scattered_into_does_not():
    gathered, both, scattered = 96 + 12 + 96, 3200 + 12 + 3200, 12 + 96
    assert ahead.bytes_of(GATHERS, "ENTRY") == gathered + both + scattered


@pytest.mark.skipif(any(one.platform == "gpu" for one in jax.devices()), reason="has such a compiler")
def test_without_a_compiler_it_says_what_to_install():
    with pytest.raises(SystemExit, match="cuda13"):
        ahead.devices(1)
