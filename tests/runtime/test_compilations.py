"""What is compiled is seen with its shapes, whoever listens beside, and JAX's log stays as it was."""

import logging
import threading

import jax
import jax.numpy as jnp

from mobile_r1_jax.runtime.compilations import JAX_LOG, Compilation, recompilations, record_compilations

TWO, THREE = jnp.zeros((2, 4)), jnp.zeros((3, 4))


def test_each_compilation_is_recorded_once_in_any_thread(caplog) -> None:
    @jax.jit
    def twice(x: jax.Array) -> jax.Array:
        return 2 * x

    with record_compilations() as outer:
        twice(TWO)
        with record_compilations() as inner:
            twice(TWO)
            thread = threading.Thread(target=twice, args=(THREE,))
            thread.start()
            thread.join()
    twice(jnp.zeros(4))
    assert inner == [Compilation("jit(twice)", ("float32[3,4]",))]
    assert outer == [Compilation("jit(twice)", ("float32[2,4]",)), *inner]
    assert (caplog.records, JAX_LOG.level, JAX_LOG.filters) == ([], logging.NOTSET, [])


def test_messages_of_jax_are_still_logged(caplog) -> None:
    with record_compilations() as compiled, jax.log_compiles():
        jax.jit(lambda x: 3 * x)(TWO)
    assert len(compiled) == 1
    assert len([record for record in caplog.records if record.getMessage().startswith("Compiling")]) == 1


def test_cause_is_reported_only_for_recompiled_programs() -> None:
    first, other = Compilation("jit(f)", ("float32[2]", "int32[2]")), Compilation("jit(g)", ("float32[3]",))
    wider = Compilation("jit(f)", ("float32[3]", "int32[2]"))
    assert list(recompilations([first, other], 0)) == []
    assert list(recompilations([first, wider, first], 1)) == [
        (logging.INFO, "jit(f) was compiled for float32[3] too"),
        (logging.WARNING, "jit(f) was compiled again, for shapes it knows, placed or set in another way"),
    ]
