"""LLVM's vector instructions for numba kernels: the only file that uses the private API of numba or llvmlite.

Python cannot express that twelve vectors of sums stay in registers, so the inner loops of tile.py and peak.py
are LLVM instructions, through numba's `intrinsic`. Tested with numba 0.58 to 0.68 and llvmlite 0.41 to 0.50,
as setup.cfg declares. Where another version does not compile them, a slower kernel takes their place.

Private are `cpu_target`, `magic_tuple`, `make_array` and `get_dummy_value`. Numba's on-disk cache looks only
at the file in which a kernel is defined: after an edit here, delete the .nbi and .nbc files in __pycache__.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite
import numba
from llvmlite import ir

I32, I64 = ir.IntType(32), ir.IntType(64)


def compiles(kernel: str, probe: Callable[[], object]) -> bool:
    """Whether probe(), a call of a kernel with vector instructions, runs. If not, warn once per kernel."""
    try:
        probe()
    except Exception:  # whatever a change of the private API may raise
        _warn(kernel, "the vector code does not compile")
        return False
    return True


@functools.cache
def vector_bytes() -> int:
    """The widest vectors of the processor that numba compiles for: 64 (AVX-512), 32 (AVX2) or 16 bytes.

    Read from LLVM's features, part of the key of numba's cache; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES limit
    them. 16 bytes are SSE2 and NEON; on a processor with neither, LLVM uses scalar instructions.
    """
    try:
        _, _, features = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
    except Exception:
        _warn("vqnp.kernels", "the width of the processor's vectors is unknown")
        return 16
    widths = {"+avx512f": 64, "+avx2": 32}
    return max(widths.get(name, 16) for name in features.split(","))


@functools.cache
def _warn(kernel: str, problem: str) -> None:
    versions = f"numba {numba.__version__} and llvmlite {llvmlite.__version__}"
    message = f"{kernel}: {problem} with {versions}, so slower code with the same results is used"
    warnings.warn(message, RuntimeWarning, stacklevel=2)


class VectorBuilder:
    """Vector instructions on the numbers of an intrinsic's first argument, `lanes` of them at a time."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.builder = context, builder
        number = signature.args[0].dtype
        self.bytes = number.bitwidth // 8
        self.scalar = ir.FloatType() if self.bytes == 4 else ir.DoubleType()
        self.lanes = vector_bytes() // self.bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.arguments = [
            context.make_array(t)(context, builder, a) if isinstance(t, numba.types.Array) else a
            for t, a in zip(signature.args, args, strict=True)
        ]

    def size(self, argument: int, axis: int) -> Any:
        """The length of one axis of an array argument."""
        return self.builder.extract_value(self.arguments[argument].shape, axis)

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """for i in range(count): yields i; what is emitted inside is the body."""
        b = self.builder
        before = b.block
        head, body, after = (b.append_basic_block(name) for name in ("loop.head", "loop.body", "loop.end"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(I64(0), before)
        b.cbranch(b.icmp_signed("<", i, count), body, after)
        b.position_at_end(body)
        yield i
        i.add_incoming(b.add(i, I64(1)), b.block)
        b.branch(head)
        b.position_at_end(after)

    def at(self, pointer: Any, i: Any, stride: Any = 1) -> Any:
        """&pointer[i · stride]"""
        i, stride = (I64(x) if isinstance(x, int) else x for x in (i, stride))
        return self.builder.gep(pointer, [self.builder.mul(i, stride)])

    def load(self, pointer: Any, mask: Any = None) -> Any:
        """A vector from memory, aligned as one number is; lanes that the mask excludes are 0 and not read."""
        place = self.builder.bitcast(pointer, self.vector.as_pointer())
        if mask is not None:
            zero, kinds = self.constant(self.scalar, 0.0), [place.type, I32, mask.type, self.vector]
            return self._call("masked.load", self.vector, kinds, [place, I32(self.bytes), mask, zero], ".p0")
        vector = self.builder.load(place)
        vector.align = self.bytes
        return vector

    def store(self, vector: Any, pointer: Any, mask: Any = None) -> None:
        """A vector to memory, aligned as one number is; lanes that the mask excludes are not written."""
        place = self.builder.bitcast(pointer, vector.type.as_pointer())
        if mask is None:
            self.builder.store(vector, place).align = 4
            return
        kinds = [vector.type, place.type, I32, mask.type]
        self._call("masked.store", ir.VoidType(), kinds, [vector, place, I32(self.bytes), mask], ".p0")

    def lanes_below(self, count: Any) -> Any:
        """The mask of the lanes 0, 1, … count − 1."""
        numbers = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count))

    def prefetch(self, pointer: Any, write: bool = False) -> None:
        """Ask for the cache line of an address that will be read, or written, soon."""
        byte = ir.IntType(8).as_pointer()
        arguments = [self.builder.bitcast(pointer, byte), *(I32(n) for n in (int(write), 3, 1))]
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        self.builder.call(self._declare("llvm.prefetch.p0", kind), arguments)

    def square_root(self, vector: Any) -> Any:
        """√x in each lane, correctly rounded."""
        return self._call("sqrt", self.vector, [self.vector], [vector])

    def absolute(self, vector: Any) -> Any:
        """|x| in each lane."""
        return self._call("fabs", self.vector, [self.vector], [vector])

    def _call(
        self, name: str, result: Any, kinds: Sequence[Any], arguments: Sequence[Any], suffix: str = ""
    ) -> Any:
        """LLVM's intrinsic of that name for this vector type."""
        full = f"llvm.{name}.v{self.lanes}f{8 * self.bytes}{suffix}"
        return self.builder.call(self._declare(full, ir.FunctionType(result, kinds)), arguments)

    def _declare(self, name: str, kind: Any) -> Any:
        known = self.builder.module.globals.get(name)
        return known if known is not None else ir.Function(self.builder.module, kind, name)

    def splat(self, number: Any) -> Any:
        """One number in every lane."""
        kind = ir.VectorType(number.type, self.lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, I32(0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        """Lane i of the result is lane lanes[i] of a followed by b."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, self.lanes), list(lanes)))

    def constant(self, scalar: Any, value: float) -> Any:
        """One known number of LLVM's type `scalar` in every lane."""
        return ir.Constant(ir.VectorType(scalar, self.lanes), [value] * self.lanes)

    def register(self, value: Any) -> Any:
        """A variable that begins as value; LLVM keeps it in a register."""
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(value.type)
        self.builder.store(value, slot)
        return slot

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """ab + c, fused where the processor can; the bound on rounding allows for both."""
        return self._call("fmuladd", self.vector, [self.vector] * 3, [a, b, c])

    def larger(self, a: Any, b: Any) -> Any:
        """a > b ? a : b in each lane; b where either is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def nothing(self) -> Any:
        """What an intrinsic without a result returns."""
        return self.context.get_dummy_value()
