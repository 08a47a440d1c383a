"""Which programs are syntactically plain: so tame that many may share one process.

A plain program cannot change anything another program would see, nor see anything that another changed. The compiled
code decides (2 us, against 200 for walking a syntax tree): no operation stores attributes or makes classes, and every
attribute named is on a list (of methods of plain values, and of what modules hold that only computes) or belongs to
nothing at all in this interpreter. What stands before the dot does not matter. Looking names up by text (`getattr`,
format fields) is not plain. Programs that are not plain lose nothing: they get processes of their own, and the same
verdict.
"""

import builtins
import collections
import decimal
import fractions
import functools
import itertools
import opcode
import random
import re
import sys
from collections.abc import Iterator
from dis import findlabels
from types import CodeType, ModuleType

from verifier.language import policy

# What plain programs may use of each module they may import; the rest of its public names are not plain.
_PUBLIC = None
_PLAIN_MODULES: dict[str, str | None] = {
    "bisect": _PUBLIC,
    "cmath": _PUBLIC,
    "collections": "ChainMap Counter OrderedDict defaultdict deque",
    "copy": "copy deepcopy",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "functools": "cache cmp_to_key lru_cache partial reduce",
    "hashlib": "blake2b blake2s md5 new sha1 sha224 sha256 sha384 sha3_256 sha3_512 sha512",
    "heapq": _PUBLIC,
    "itertools": _PUBLIC,
    "math": _PUBLIC,
    "operator": "abs add and_ concat contains countOf eq floordiv ge getitem gt index indexOf inv invert is_ is_not "
    "itemgetter le lshift lt matmul mod mul ne neg not_ or_ pos pow rshift sub truediv truth xor",
    "random": "Random betavariate choice choices expovariate gauss getrandbits normalvariate randbytes randint "
    "random randrange sample seed shuffle triangular uniform",
    "re": "A ASCII DOTALL I IGNORECASE M MULTILINE S U UNICODE VERBOSE X compile escape findall finditer fullmatch "
    "match search split sub subn",
    "statistics": "fmean geometric_mean harmonic_mean mean median median_high median_low mode multimode pstdev "
    "pvariance stdev variance",
    "string": "ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits octdigits printable "
    "punctuation whitespace",
    "time": "monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep thread_time "
    "thread_time_ns time time_ns",
    "typing": " ".join(policy.TYPING_NAMES)
    + " ChainMap Counter DefaultDict Deque Hashable Mapping OrderedDict",
}

# Types whose public attributes plain programs may use: methods that compute, or change the value they are called on.
_VALUES: tuple[type, ...] = (
    *(bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, slice),
    *(type({}.keys()), type({}.values()), type({}.items()), type(None for _ in ())),
    *(
        collections.ChainMap,
        collections.Counter,
        collections.OrderedDict,
        collections.defaultdict,
        collections.deque,
    ),
    *(decimal.Decimal, fractions.Fraction, functools.partial, itertools.chain, random.Random),
    *(type(re.compile("")), type(re.match("", "")), type(functools.lru_cache(len))),
)
_HASHES = "block_size digest digest_size hexdigest name"
_ERRORS = "args value"
# Special methods of operators. (Not `__init__`, which may change a module, nor what leads to a class or to frames.)
_OPERATORS = (
    "abs add and bool bytes ceil complex concat contains delitem divmod eq float floor floordiv ge getitem gt hash "
    "iadd iand ifloordiv ilshift imod imul index int invert ior ipow irshift isub iter itruediv ixor le len "
    "length_hint lshift lt mod mul ne neg next or pos pow radd rand rdivmod repr reversed rfloordiv rlshift rmod rmul "
    "ror round rpow rrshift rshift rsub rtruediv rxor setitem str sub truediv trunc xor"
)
# Public but not plain: `format` finds attributes by text (see _formats_plainly), the others lead to frames.
_REFLECTIVE_ATTRIBUTES = frozenset(["format", "format_map", "with_traceback"])
_REFLECTIVE_PREFIXES = ("f_", "tb_", "gi_", "cr_", "ag_", "co_", "func_")

_DENIED_OPERATIONS = frozenset(
    opcode.opmap[name]
    for name in (
        [
            "STORE_ATTR",
            "DELETE_ATTR",
            "LOAD_BUILD_CLASS",
            "IMPORT_STAR",
            "BEFORE_WITH",
            "BEFORE_ASYNC_WITH",
            "SETUP_WITH",
            "LOAD_SPECIAL",
            "LOAD_SUPER_ATTR",
            "LOAD_FROM_DICT_OR_GLOBALS",
            "LOAD_FROM_DICT_OR_DEREF",
            "GET_AWAITABLE",
            "GET_AITER",
            "GET_ANEXT",
            "ASYNC_GEN_WRAP",
            "MATCH_CLASS",
            "LOAD_CLASSDEREF",
            "LOAD_LOCALS",
            "SETUP_ANNOTATIONS",
        ]
    )
    if name in opcode.opmap
)
_FUTURE = "__future__"  # allowed despite its underscores: its module (future.py) is harmless
# With these a program finds a variable by a name given as text.
LOOKS_UP = frozenset(["eval", "exec", "globals", "locals", "vars", "__globals__", "f_globals"])
_COROUTINE_FLAGS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR
_GENERATOR_FLAG = 0x20
_PUSH_EXC_INFO = opcode.opmap["PUSH_EXC_INFO"]
_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_LOAD_CONST = opcode.opmap["LOAD_CONST"]
# Operation -> how far to shift its argument right to get the index of a name: of an attribute,
_ATTRIBUTES = {
    opcode.opmap[name]: shift
    for name, shift in {
        "LOAD_ATTR": 0 if sys.version_info < (3, 12) else 1,
        "LOAD_METHOD": 0,
        "IMPORT_FROM": 0,
    }.items()
    if name in opcode.opmap
}
# or of a variable
_VARIABLES = {
    opcode.opmap[name]: shift
    for name, shift in {
        "LOAD_NAME": 0,
        "STORE_NAME": 0,
        "DELETE_NAME": 0,
        "LOAD_GLOBAL": 1,
        "STORE_GLOBAL": 0,
        "DELETE_GLOBAL": 0,
    }.items()
}
_FIELD_THAT_LOOKS_INSIDE = re.compile(r"\{[^{}!:]*[.\[]")  # in a format: `{0.real}`, `{0[a]}`
# Names, of modules and in typing, whose use may leave something in a shared cache (worker/runtime.forget_cached).
_CACHING = frozenset(policy.TYPING_NAMES) | {"re", "typing"}


class Screen:
    """Decides whether compiled programs are plain. Build it after policy.import_modules(allowed)."""

    def __init__(self, allowed_imports: frozenset[str]):
        modules = frozenset(_PLAIN_MODULES) & allowed_imports
        self._modules = modules | {_FUTURE}
        self._plain = _plain_names(modules)
        self._suspect = _all_names(modules) - self._plain

    def why_not_plain(self, code: CodeType) -> str | None:
        """None for a plain program, else what is not plain about it."""
        operations = code.co_code[::2]
        if not _DENIED_OPERATIONS.isdisjoint(operations) or code.co_flags & _COROUTINE_FLAGS:
            return "operation"
        if code.co_flags & _GENERATOR_FLAG and _PUSH_EXC_INFO in operations:
            return "generator"  # what it does when it is closed depends on when it is collected
        if not self._suspect.isdisjoint(code.co_names):
            why = self._why_not_plain_names(code)
            if why is not None:
                return why
        if _IMPORT_NAME in operations and not self._imports_are_plain(code):
            return "import"
        for constant in code.co_consts:
            if type(constant) is CodeType:
                why = self.why_not_plain(constant)
                if why is not None:
                    return why
        return None

    def _why_not_plain_names(self, code: CodeType) -> str | None:
        """A closer look at names that are some attribute's: here they may be variables."""
        before: object = None  # the constant that was loaded just before
        ends: set[int] | None = None  # jump targets, where something else may have been loaded
        for at, operation, argument in _instructions(code):
            shift = _ATTRIBUTES.get(operation)
            if shift is not None:
                name = code.co_names[argument >> shift]
                if name == "format":
                    ends = _jump_targets(code) if ends is None else ends
                    if at in ends or not _formats_plainly(before):
                        return name
                elif name in self._suspect and name not in _PLAIN_ATTRIBUTES:
                    return name
            else:
                shift = _VARIABLES.get(operation)
                if shift is not None:
                    name = code.co_names[argument >> shift]
                    if name in _ABSENT or (name.startswith("__") and name != "__name__"):
                        return name
            before = code.co_consts[argument] if operation == _LOAD_CONST else None
        return None

    def _imports_are_plain(self, code: CodeType) -> bool:
        if ("*",) in code.co_consts:
            return False
        names = [
            code.co_names[argument]
            for _, operation, argument in _instructions(code)
            if operation == _IMPORT_NAME
        ]
        return self._modules.issuperset(names)


_PLAIN_ATTRIBUTES = frozenset(["compile"])  # of `re`, though not as a variable
# Missing only from programs that share a child.
_ABSENT = policy.REFLECTIVE_BUILTINS


def may_call(code: CodeType, name: str) -> bool:
    """Whether the program, at any depth, uses this global variable or attribute, or looks names up by text."""
    if name in code.co_names or not LOOKS_UP.isdisjoint(code.co_names):
        return True
    return any(type(constant) is CodeType and may_call(constant, name) for constant in code.co_consts)


def may_cache(code: CodeType) -> bool:
    """Whether the program, at any depth, names something that keeps what it is given in a cache."""
    if not _CACHING.isdisjoint(code.co_names):
        return True
    return any(type(constant) is CodeType and may_cache(constant) for constant in code.co_consts)


def _plain_names(modules: frozenset[str]) -> frozenset[str]:
    """Names that lead, as attribute or variable, from any value only to what computes."""
    members = {
        module: {name: value for name, value in vars(_module(module)).items() if not name.startswith("_")}
        for module in modules
    }
    plain = (
        set(modules) | set(f"{_HASHES} {_ERRORS}".split()) | {f"__{name}__" for name in _OPERATORS.split()}
    )
    plain |= {"__name__", "__doc__"}
    plain.update(name for name in vars(builtins) if not name.startswith("_"))
    for kind in _VALUES:
        plain.update(name for name in dir(kind) if not name.startswith("_"))
    for module, found in members.items():
        row = _PLAIN_MODULES[module]
        if row is not None:
            plain.update(row.split())
        else:
            plain.update(
                name for name, value in found.items() if callable(value) or type(value) in (float, complex)
            )
    # what else a module holds under such a name must be allowed from another module, or the name is not plain
    for module, found in members.items():
        row = _PLAIN_MODULES[module]
        allowed = set(found) if row is None else set(row.split())
        for name in plain & set(found) - allowed:
            value = found[name]
            is_module = isinstance(value, ModuleType) and value.__name__ in modules - policy.STAND_INS.keys()
            if not is_module and not _is_elsewhere(value, name, members):
                plain.discard(name)
    plain = {name for name in plain if not name.startswith(_REFLECTIVE_PREFIXES)}
    plain -= _REFLECTIVE_ATTRIBUTES | policy.REFLECTIVE_BUILTINS | policy.REMOVED_BUILTINS
    return frozenset(plain)


def _is_elsewhere(value: object, name: str, members: dict[str, dict[str, object]]) -> bool:
    """Whether another module's row allows this value under the name (`statistics.sqrt` is that of `math`)."""
    return any(
        found.get(name) is value and ((row := _PLAIN_MODULES[module]) is None or name in row.split())
        for module, found in members.items()
    )


def _module(name: str) -> ModuleType:
    stand_in = policy.STAND_INS.get(name)
    return stand_in() if stand_in else sys.modules[name]


def _all_names(modules: frozenset[str]) -> frozenset[str]:
    """The names of all attributes here, of classes, of modules and of functions: no other name leads anywhere."""
    names: set[str] = set()
    seen: set[type] = set()
    kinds: list[type] = [object]
    while kinds:
        kind = kinds.pop()
        if kind in seen:
            continue
        seen.add(kind)
        names.update(vars(kind))
        kinds += type.__subclasses__(kind)
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType):
            names.update(vars(module))
    for name in modules:
        for value in vars(_module(name)).values():  # functions and instances may have attributes of their own
            if type(value).__dictoffset__ and not isinstance(value, type | ModuleType):
                names.update(getattr(value, "__dict__", ()))
    return frozenset(name for name in names if type(name) is str) | policy.REFLECTIVE_BUILTINS


def _formats_plainly(text: object) -> bool:
    """Whether this is a text whose format fields name arguments only, rather than what is inside them."""
    return type(text) is str and _FIELD_THAT_LOOKS_INSIDE.search(text) is None


def _instructions(code: CodeType) -> Iterator[tuple[int, int, int]]:
    """(offset of its first byte, operation, argument) of each instruction, extended arguments applied."""
    extended, start, raw = 0, 0, code.co_code
    for at in range(0, len(raw), 2):
        operation, argument = raw[at], raw[at + 1] | extended
        if operation == _EXTENDED_ARG:
            extended = argument << 8
            continue
        if operation == _CACHE:
            start = at + 2
            continue
        yield start, operation, argument
        extended, start = 0, at + 2


_CACHE = opcode.opmap.get("CACHE", 0)


def _jump_targets(code: CodeType) -> set[int]:
    return set(findlabels(code.co_code))  # type: ignore[arg-type]
