"""Which programs are syntactically plain: so tame that many may share one process.

A plain program cannot change anything another program would see. It is judged by its compiled code (2 us,
where walking a syntax tree takes 200): no operation that stores attributes or makes classes, and no name,
be it a variable's or an attribute's, that begins with an underscore, reflects, or belongs to a module's
machinery. The rule is on names wherever they stand, so it needs no knowledge of what a name refers to.
Programs that are not plain are none the worse: they get processes of their own, and the same verdict.
"""

import opcode
import sys
from types import CodeType, ModuleType

from verifier import policy

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
    "typing": " ".join(policy.TYPING_NAMES) + " DefaultDict Deque Hashable Mapping",
}

# Attributes that lead from a value to frames, code or classes without an underscore in their name.
_REFLECTIVE_ATTRIBUTES = frozenset(["format_map", "mro", "with_traceback"])
_REFLECTIVE_PREFIXES = ("_", "f_", "tb_", "gi_", "cr_", "ag_", "co_", "func_")

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
_FUTURE = "__future__"  # begins with underscores, and its module (future.py) is harmless
# By these a program finds a variable whose name stands in a text only.
LOOKS_UP = frozenset(["eval", "exec", "globals", "locals", "vars", "__globals__", "f_globals"])
_COROUTINE_FLAGS = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR
_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_LOAD_NAME = opcode.opmap["LOAD_NAME"]
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]


class Screen:
    """Says of compiled programs whether they are plain. Build it after policy.import_modules(allowed)."""

    def __init__(self, allowed_imports: frozenset[str]):
        modules = frozenset(_PLAIN_MODULES) & allowed_imports
        self._modules = modules | {_FUTURE}
        self._denied = _denied_names(modules)

    def why_not_plain(self, code: CodeType) -> str | None:
        """None for a plain program, else what is not plain about it."""
        operations = code.co_code[::2]
        if not _DENIED_OPERATIONS.isdisjoint(operations) or code.co_flags & _COROUTINE_FLAGS:
            return "operation"
        for name in code.co_names:
            if name in self._denied or (name.startswith(_REFLECTIVE_PREFIXES) and name != _FUTURE):
                return name
        if _IMPORT_NAME in operations and not self._imports_are_plain(code):
            return "import"
        if "compile" in code.co_names and "compile" in _loaded_names(
            code
        ):  # re.compile is plain, compile is not
            return "compile"
        for constant in code.co_consts:
            if type(constant) is CodeType:
                why = self.why_not_plain(constant)
                if why is not None:
                    return why
        return None

    def _imports_are_plain(self, code: CodeType) -> bool:
        if ("*",) in code.co_consts:
            return False
        names = [
            code.co_names[argument] for operation, argument in _arguments(code) if operation == _IMPORT_NAME
        ]
        return self._modules.issuperset(names)


def may_call(code: CodeType, name: str) -> bool:
    """Whether the program, at any depth, mentions the name as a global variable or an attribute, or anything by which
    variables are found from texts."""
    if name in code.co_names or not LOOKS_UP.isdisjoint(code.co_names):
        return True
    return any(type(constant) is CodeType and may_call(constant, name) for constant in code.co_consts)


def _denied_names(modules: frozenset[str]) -> frozenset[str]:
    """Names no plain program uses: reflective builtins, and all that plain modules hold beyond the table above.

    A name that one module's row allows stays allowed (`compile` is looked at apart): rows hold nothing
    reflective.
    """
    allowed: set[str] = set()
    public: set[str] = set()
    for name in modules:
        members = {k: v for k, v in vars(sys.modules[name]).items() if not k.startswith("_")}
        public.update(members)
        row = _PLAIN_MODULES[name]
        if row is not None:
            allowed.update(row.split())
        else:
            allowed.update(k for k, v in members.items() if callable(v) or type(v) in (float, complex))
        # `statistics.random` is just another way to write `random`
        allowed.update(k for k, v in members.items() if isinstance(v, ModuleType) and v.__name__ in modules)
    reflective = policy.REFLECTIVE_BUILTINS | _REFLECTIVE_ATTRIBUTES | policy.REMOVED_BUILTINS
    return frozenset((public - allowed - set(modules)) | (reflective - {"compile"}))


def _arguments(code: CodeType) -> list[tuple[int, int]]:
    """(operation, argument) of each instruction, extended arguments applied."""
    found, extended, raw = [], 0, code.co_code
    for i in range(0, len(raw), 2):
        operation, argument = raw[i], raw[i + 1] | extended
        extended = argument << 8 if operation == _EXTENDED_ARG else 0
        found.append((operation, argument))
    return found


def _loaded_names(code: CodeType) -> set[str]:
    """The names a program looks up as variables, rather than as attributes."""
    names = set()
    for operation, argument in _arguments(code):
        if operation == _LOAD_GLOBAL:  # the lowest bit says whether a NULL is pushed for a call
            names.add(code.co_names[argument >> 1])
        elif operation == _LOAD_NAME:
            names.add(code.co_names[argument])
    return names
