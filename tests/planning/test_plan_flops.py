"""Operations and live bytes are counted as a program runs: loops as often as they go, branches by their share."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from mobile_r1_jax.model.attention import KV, QUERY_BLOCK, attention
from mobile_r1_jax.planning.flops import Loops, count_flops, count_product_bytes, live_bytes

X, W = jnp.ones((4, 8)), jnp.ones((8, 8))
ONE = 2 * 4 * 8 * 8  # operations of X @ W


def jaxpr_of(function, *arguments) -> object:
    return jax.make_jaxpr(function)(*arguments).jaxpr


def nbytes(aval) -> float:
    return aval.size * aval.dtype.itemsize


def test_a_product_is_two_operations_for_each_multiply_and_add_and_reads_and_writes_its_matrices_once() -> None:
    jaxpr = jaxpr_of(lambda x, w: jnp.tanh(x @ w), X, W)
    assert count_flops(jaxpr, Loops()) == ONE
    assert count_product_bytes(jaxpr, Loops(), nbytes) == 4 * (4 * 8 + 8 * 8 + 4 * 8)


def test_a_scan_counts_as_often_as_it_is_long_even_inside_another_program() -> None:
    inner = jax.jit(lambda x, w: jax.lax.scan(lambda x, w: (x @ w, None), x, jnp.stack([w] * 5))[0])
    assert count_flops(jaxpr_of(lambda x, w: inner(x, w) @ w, X, W), Loops()) == 6 * ONE


def test_a_loop_that_ends_by_what_it_computes_counts_as_often_as_one_is_told() -> None:
    def function(x, w) -> jax.Array:
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ w, x)

    assert count_flops(jaxpr_of(function, X, W), Loops(trips=7)) == 7 * ONE


def test_branches_count_by_the_share_of_the_last() -> None:
    def function(p, x, w) -> jax.Array:
        return jax.lax.cond(p, lambda x: x @ w @ w @ w, lambda x: x @ w, x)

    assert count_flops(jaxpr_of(function, True, X, W), Loops(last_branch=0.25)) == pytest.approx((0.75 + 0.75) * ONE)


def test_a_kernel_counts_as_if_none_of_its_blocks_were_left_out_whatever_branches_the_policy_has() -> None:
    q = jnp.ones((2, 1, 512, 4, 64))
    keys = KV(q[..., :2, :], q[..., :2, :])
    kernel = jaxpr_of(partial(attention, causal=True, kernel="splash"), q, keys)
    assert count_flops(kernel, Loops(last_branch=0.25)) == 4 * 2 * 4 * 512**2 * 64


def test_plain_products_of_a_prompt_count_without_the_blocks_of_keys_that_come_later() -> None:
    q = jnp.ones((2, 1, 2 * QUERY_BLOCK, 4, 64))
    keys = KV(q[..., :2, :], q[..., :2, :])
    plain = jaxpr_of(partial(attention, causal=True, kernel="xla"), q, keys)
    assert count_flops(plain, Loops()) == 4 * 2 * 4 * 3 * QUERY_BLOCK**2 * 64


def test_recomputation_counts_in_the_backward_pass() -> None:
    def loss(w, x) -> jax.Array:
        return jnp.sum(jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) @ w))(w, x))

    plain = jaxpr_of(jax.grad(lambda w, x: jnp.sum(jnp.sin(jnp.sin(x @ w) @ w))), W, X)
    assert count_flops(jaxpr_of(jax.grad(loss), W, X), Loops()) > count_flops(plain, Loops())


def test_live_bytes_are_those_of_products_that_are_still_read_and_nothing_that_is_fused() -> None:
    small, one = 4 * 4 * 8, 4 * 4 * 8

    def chain(x, w) -> jax.Array:  # two products alive at once, whatever stands between
        return jnp.exp(jnp.exp(x @ w) @ w * 2.0) @ w

    def kept(x, w) -> jax.Array:  # the first is read again at the end
        first = x @ w
        return (jnp.sin(first) @ w @ w) + first

    assert live_bytes(jaxpr_of(chain, X, W), Loops(), nbytes) == 2 * one
    assert live_bytes(jaxpr_of(kept, X, W), Loops(), nbytes) == 3 * small


def test_what_a_scan_keeps_for_later_is_alive_with_its_length() -> None:
    def function(x, w) -> jax.Array:
        _, kept = jax.lax.scan(lambda x, _: (x @ w, x), x, None, length=10)
        return kept

    assert live_bytes(jaxpr_of(function, X, W), Loops(), nbytes) >= 10 * 4 * 4 * 8
