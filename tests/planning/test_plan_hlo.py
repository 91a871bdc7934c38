"""Bytes read from HBM, from a compiled program's text: every iteration of a loop, and only the slice of a slice."""

import pytest

from mobile_r1_jax.planning.flops import Loops
from mobile_r1_jax.planning.hlo import count_traffic

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused_slice (param_0.1: f32[36,8,128], param_1.1: s32[]) -> f32[1,8,128] {
  %param_0.1 = f32[36,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1.1 = s32[]{:T(128)} parameter(1)
  %constant.9 = s32[]{:T(128)} constant(0)
  ROOT %dynamic-slice.1 = f32[1,8,128]{2,1,0:T(8,128)S(1)} dynamic-slice(%param_0.1, %param_1.1, %constant.9)
}

%body (arg: (s32[], f32[36,8,128])) -> (s32[], f32[36,8,128]) {
  %arg = (s32[]{:T(128)}, f32[36,8,128]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%arg), index=0
  %weights = f32[36,8,128]{2,1,0:T(8,128)} get-tuple-element(%arg), index=1
  %layer = f32[1,8,128]{2,1,0:T(8,128)S(1)} fusion(%weights, %i), kind=kLoop, calls=%fused_slice
  %all-gather.1 = bf16[8,1024]{1,0:T(8,128)(2,1)S(1)} all-gather(%layer), channel_id=7, dimensions={1}
  %all-gather.2 = bf16[8,1024]{1,0:T(8,128)(2,1)S(1)} all-gather(%layer), channel_id=7, dimensions={1}
  ROOT %tuple.1 = (s32[]{:T(128)}, f32[36,8,128]{2,1,0:T(8,128)}) tuple(%i, %weights)
}

%condition (arg.2: (s32[], f32[36,8,128])) -> pred[] {
  %arg.2 = (s32[]{:T(128)}, f32[36,8,128]{2,1,0:T(8,128)}) parameter(0)
  %constant.3 = s32[]{:T(128)} constant(36)
  %j = s32[]{:T(128)} get-tuple-element(%arg.2), index=0
  ROOT %lt.1 = pred[]{:T(512)} CONDITION
}

ENTRY %main.1 (x: f32[36,8,128]) -> f32[36,8,128] {
  %x = f32[36,8,128]{2,1,0:T(8,128)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %tuple.2 = (s32[]{:T(128)}, f32[36,8,128]{2,1,0:T(8,128)}) tuple(%zero, %x)
  %while.1 = (s32[]{:T(128)}, f32[36,8,128]{2,1,0:T(8,128)}) while(%tuple.2), condition=%condition, body=%body
  %y = f32[36,8,128]{2,1,0:T(8,128)} get-tuple-element(%while.1), index=1
  ROOT %copy.1 = f32[36,8,128]{2,1,0:T(8,128)} copy(%y)
}
"""
NESTED = """%only_bitcast (p: f32[36,8,128]) -> f32[36,8,128] {
  %p = f32[36,8,128]{2,1,0:T(8,128)} parameter(0)
  ROOT %b = f32[36,8,128]{2,1,0:T(8,128)} bitcast(%p)
}

%fused_outer (param_0.2: f32[36,8,128], param_1.2: s32[]) -> f32[1,8,128] {
  %param_0.2 = f32[36,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1.2 = s32[]{:T(128)} parameter(1)
  %same = f32[36,8,128]{2,1,0:T(8,128)} fusion(%param_0.2), kind=kLoop, calls=%only_bitcast
  ROOT %inner = f32[1,8,128]{2,1,0:T(8,128)S(1)} READER
}

"""
STACK = 36 * 8 * 128 * 4
COUNTED = PROGRAM.replace("CONDITION", "compare(%j, %constant.3), direction=LT")
ENDLESS = PROGRAM.replace("CONDITION", "and(%j, %constant.3)")


def test_loop_over_stacked_layers_reads_each_layer_once() -> None:
    assert count_traffic(COUNTED, Loops()).memory == STACK + 2 * STACK  # the layers, then the copy


@pytest.mark.parametrize(
    "reader, stacks", [("fusion(%same, %param_1.2), kind=kLoop, calls=%fused_slice", 1), ("negate(%same)", 36)]
)
def test_nested_fusion_reads_its_slice_or_the_whole_array(reader, stacks) -> None:
    program = COUNTED.replace("calls=%fused_slice", "calls=%fused_outer")
    program = program.replace("%body (arg", NESTED.replace("READER", reader) + "%body (arg")
    assert count_traffic(program, Loops()).memory == stacks * STACK + 2 * STACK


def test_asynchronous_collective_with_two_texts_counts_once() -> None:
    assert count_traffic(COUNTED, Loops()).links == 36 * 8 * 1024 * 2


@pytest.mark.parametrize("tokens", [0, 5])
def test_while_loop_counts_the_given_number_of_iterations(tokens) -> None:
    assert count_traffic(ENDLESS, Loops(trips=tokens)).links == tokens * 8 * 1024 * 2
