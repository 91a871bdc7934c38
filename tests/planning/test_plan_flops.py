"""Operations and live bytes count every iteration of a loop and branches by their share."""

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


def test_product_counts_two_operations_per_multiply_add_and_each_matrix_once() -> None:
    jaxpr = jaxpr_of(lambda x, w: jnp.tanh(x @ w), X, W)
    assert count_flops(jaxpr, Loops()) == ONE
    assert count_product_bytes(jaxpr, Loops(), nbytes) == 4 * (4 * 8 + 8 * 8 + 4 * 8)


def test_scan_counts_its_length_also_inside_another_program() -> None:
    inner = jax.jit(lambda x, w: jax.lax.scan(lambda x, w: (x @ w, None), x, jnp.stack([w] * 5))[0])
    assert count_flops(jaxpr_of(lambda x, w: inner(x, w) @ w, X, W), Loops()) == 6 * ONE


def test_while_loop_counts_the_given_number_of_iterations() -> None:
    def function(x, w) -> jax.Array:
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ w, x)

    assert count_flops(jaxpr_of(function, X, W), Loops(trips=7)) == 7 * ONE


def test_branches_count_by_the_share_of_the_last_one() -> None:
    def function(p, x, w) -> jax.Array:
        return jax.lax.cond(p, lambda x: x @ w @ w @ w, lambda x: x @ w, x)

    assert count_flops(jaxpr_of(function, True, X, W), Loops(last_branch=0.25)) == pytest.approx((0.75 + 0.75) * ONE)


def test_kernel_counts_all_of_its_blocks_for_any_share_of_branches() -> None:
    q = jnp.ones((2, 1, 512, 4, 64))
    keys = KV(q[..., :2, :], q[..., :2, :])
    kernel = jaxpr_of(partial(attention, causal=True, kernel="splash"), q, keys)
    assert count_flops(kernel, Loops(last_branch=0.25)) == 4 * 2 * 4 * 512**2 * 64


def test_plain_products_of_a_prompt_do_not_count_blocks_of_later_keys() -> None:
    q = jnp.ones((2, 1, 2 * QUERY_BLOCK, 4, 64))
    keys = KV(q[..., :2, :], q[..., :2, :])
    plain = jaxpr_of(partial(attention, causal=True, kernel="xla"), q, keys)
    assert count_flops(plain, Loops()) == 4 * 2 * 4 * 3 * QUERY_BLOCK**2 * 64


def test_recomputation_counts_in_the_backward_pass() -> None:
    def loss(w, x) -> jax.Array:
        return jnp.sum(jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) @ w))(w, x))

    plain = jaxpr_of(jax.grad(lambda w, x: jnp.sum(jnp.sin(jnp.sin(x @ w) @ w))), W, X)
    assert count_flops(jaxpr_of(jax.grad(loss), W, X), Loops()) > count_flops(plain, Loops())


def test_live_bytes_count_products_until_their_last_use_and_no_fused_arrays() -> None:
    small, one = 4 * 4 * 8, 4 * 4 * 8

    def chain(x, w) -> jax.Array:  # two products live at once
        return jnp.exp(jnp.exp(x @ w) @ w * 2.0) @ w

    def kept(x, w) -> jax.Array:  # the end reads the first product again
        first = x @ w
        return (jnp.sin(first) @ w @ w) + first

    assert live_bytes(jaxpr_of(chain, X, W), Loops(), nbytes) == 2 * one
    assert live_bytes(jaxpr_of(kept, X, W), Loops(), nbytes) == 3 * small


def test_stacked_outputs_of_a_scan_count_as_live_with_its_length() -> None:
    def function(x, w) -> jax.Array:
        _, kept = jax.lax.scan(lambda x, _: (x @ w, x), x, None, length=10)
        return kept

    assert live_bytes(jaxpr_of(function, X, W), Loops(), nbytes) >= 10 * 4 * 4 * 8
