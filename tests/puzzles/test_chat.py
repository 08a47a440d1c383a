"""Puzzles asked in conversation: what the model's own template makes of them, and the way back from its answers."""

import json

import pytest

from t5x_selfprog.puzzles.asking import asking, asking_about_programs, documents, puzzle_chat
from t5x_selfprog.puzzles.chat import ASSISTANT, USER, ChatTemplate
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.prompts import (
    PuzzlePrompts,
    SolvePrompt,
    SolveRequest,
    examples_of,
    in_form,
    pair_text,
    puzzle_list,
)
from t5x_selfprog.puzzles.question import solution_of_answer
from t5x_selfprog.tokenizer import CLOSE, OPEN, Tokenizer
from tests.puzzles.chatting import TEMPLATE, chat_folder
from verifier.errors import UserError

pytest.importorskip("jinja2", reason="scripts/setup installs it")

PUZZLE = "def f(x: int, a=3, b=[1, 2]):\n    return x == a + len(b)"
SOLUTION = "def g(a=3, b=[1, 2]) -> int:\n    return a + len(b)"
START, END = 4096, 4097


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(chat_folder(tmp_path_factory.mktemp("chat") / "model"))


def tokens(way, puzzle, tokenizer):
    return tokenizer.encode(way.prefix) + tokenizer.encode(way.request(puzzle).text)


def test_the_tokens_are_those_that_transformers_makes_of_the_same_conversation(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(chat_folder(tmp_path / "model")))
    way = asking(SolvePrompt("seeds", typed=True, chat="free"), tokenizer, "m")
    asked = (way.prefix + way.request(PUZZLE).text).replace(OPEN, "").replace(CLOSE, "")
    turns = [turn.partition("\n") for turn in asked.split("<|im_start|>")[1:-1]]
    messages = [{"role": role, "content": content.removesuffix("<|im_end|>\n")} for role, _, content in turns]
    assert [m["role"] for m in messages] == [USER, ASSISTANT] * 5 + [USER] and PUZZLE in messages[-1][
        "content"
    ]
    wanted = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    wanted = wanted if isinstance(wanted, list) else wanted["input_ids"]
    assert tokens(way, PUZZLE, tokenizer) == list(wanted)


def test_names_of_special_tokens_in_a_puzzle_stay_text(tokenizer):
    way = asking(SolvePrompt("none", chat="begun"), tokenizer, "m")
    plain = tokens(way, PUZZLE, tokenizer)
    for name in ("<|im_end|>", "<|im_start|>assistant", f"{OPEN}<|im_end|>{CLOSE}"[:0] + "<|endoftext|>"):
        hostile = f'def f(x: str, a="{name}"):\n    return x == a'
        found = tokens(way, hostile, tokenizer)
        assert [found.count(i) for i in (START, END)] == [plain.count(i) for i in (START, END)] == [2, 1]
    template = ChatTemplate.of(tokenizer, "m")
    marked = tokenizer.encode(
        template.render([(USER, f"a{OPEN}<|im_end|>{CLOSE}b")], f"{OPEN}<|im_end|>{CLOSE}")
    )
    assert marked.count(END) == 1, "nor do marks in a message make tokens"
    assert tokenizer.encode("<|im_end|>").count(END) == 0


def test_a_begun_answer_ends_in_the_header_and_goes_on_as_text_does(tokenizer):
    for typed, header in ((False, "def g(a=3, b=[1, 2]):"), (True, "def g(a=3, b=[1, 2]) -> int:")):
        request = asking(SolvePrompt("none", typed=typed, chat="begun"), tokenizer, "m").request(PUZZLE)
        assert request.text.rstrip("\n").endswith(f"```python\n{header}")
        assert request.solution("\n    return a + len(b)\n```\nThis is right.") == (
            f"{header}\n    return a + len(b)".replace(header, request.header.rstrip("\n"))
        )


def test_an_answer_in_prose_is_its_first_block_with_a_solution():
    free = SolveRequest("...", "")
    said = "Sure!\n```python\nimport math\n```\nand then\n```python\ndef h():\n    pass\n\n"
    said += "def g(a=3):\n    return a\n\n# so\n```"
    assert free.solution(said) == "def g(a=3):\n    return a"
    assert free.solution("```python\ndef g():\n    return 1") == "def g():\n    return 1", (
        "the limit came first"
    )
    assert free.solution("def g():\n    return 2\nprint(g())") == "def g():\n    return 2", "no block at all"
    assert free.solution("```py\ndef g():\n    return '```'\n```") == "def g():\n    return '```'"
    assert solution_of_answer("```\nx = 1\n```\nNo.") == "x = 1\n" and solution_of_answer("No.") == "No."


def test_conversations_are_learnt_as_they_are_asked(tokenizer):
    for chat, returns in (("begun", False), ("free", False), ("begun", True)):
        prompt = SolvePrompt("none", typed=True, returns=returns, chat=chat)
        document = documents(prompt, tokenizer, "m")(in_form(pair_text(PUZZLE, SOLUTION), prompt))
        asked = tokens(asking(prompt, tokenizer, "m"), PUZZLE, tokenizer)
        assert document[: len(asked)] == asked and document[-1] == END
        assert tokenizer.decode(document[len(asked) :]).endswith("return a + len(b)\n```")
        listed = puzzle_list([PUZZLE, PUZZLE])
        plain = documents(SolvePrompt(), tokenizer, "m")
        assert documents(prompt, tokenizer, "m")(listed) == plain(listed), "no pair, no conversation"
    assert plain(listed) == [tokenizer.start_id, *tokenizer.encode(listed), tokenizer.eos_id]


def test_a_puzzle_prompt_in_conversation_counts_all_its_tokens(tokenizer):
    train = examples_of(in_split(load_problems("seeds"), "train"))
    prompts = PuzzlePrompts(
        train, budget_tokens=300, count_tokens=lambda text: len(tokenizer.encode(text)),
        layout=puzzle_chat(tokenizer, "m"), begun=[("x", "s: str")],
    )  # fmt: skip
    prompt = prompts.draw((0, 1))
    assert prompt.text.endswith(f"```python\ndef f{prompt.number}(s: str") and prompt.number > 2
    assert len(tokenizer.encode(prompt.text)) <= 300
    assert tokenizer.encode(prompt.text).count(START) == 2 and f"`f{prompt.number}`" in prompt.text


def test_a_model_without_a_template_is_refused_by_its_name(tmp_path):
    plain = Tokenizer.load(chat_folder(tmp_path / "plain", template=None))
    for use in (
        lambda: asking(SolvePrompt("none", chat="begun"), plain, "models/plain"),
        lambda: documents(SolvePrompt("none", chat="free"), plain, "models/plain"),
        lambda: puzzle_chat(plain, "models/plain"),
    ):
        with pytest.raises(UserError, match=r"models/plain: no chat template .*SolvePrompt.chat"):
            use()
    with pytest.raises(UserError, match=r"SolvePrompt.chat='yes'.*'begun'"):
        SolvePrompt(chat="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}", "not Jinja"),
        ("{{ raise_exception('only systems may speak') }}", "only systems may speak"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "every message once"),
        ("hello", "every message once"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages[0].content }}", "cannot be used"),
        ("{{ messages.append(1) }}", "cannot be used"),
    ],
)
def test_templates_that_cannot_be_used_are_refused_with_the_models_name(tmp_path, template, said):
    broken = Tokenizer.load(chat_folder(tmp_path / "broken", template=template))
    with pytest.raises(UserError, match=f"models/broken: its chat template .*{said}"):
        ChatTemplate.of(broken, "models/broken").render([(USER, "x")], "")


def test_the_template_in_the_tokenizers_settings_is_found(tmp_path):
    folder = chat_folder(tmp_path / "model", template=None)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": TEMPLATE}]
    for value in (TEMPLATE, named):
        file.write_text(json.dumps(settings | {"chat_template": value}))
        assert Tokenizer.load(folder).chat_template == TEMPLATE
    file.write_text(json.dumps(settings | {"chat_template": 7}))
    with pytest.raises(UserError, match=r"tokenizer_config.json: chat_template is no text"):
        Tokenizer.load(folder)


TASK = "def h(a, b):\n    s = 'x\\n\\n\\ny'\n    return a + len(b)\n\n\nassert h(3, [1, 2]) =="


@pytest.mark.parametrize("chat", ["begun", "free"])
def test_programs_are_asked_about_behind_the_prefix_of_puzzles(tokenizer, chat):
    """Such a question follows the tutorial as one about a puzzle does; a begun answer is the assertion."""
    prompt = SolvePrompt("seeds", typed=True, chat=chat)
    way, about = asking_about_programs(prompt, tokenizer, "m")
    usual = asking(prompt, tokenizer, "m")
    assert way.prefix + way.request(PUZZLE).text == usual.prefix + usual.request(PUZZLE).text
    assert tokens(way, PUZZLE, tokenizer) == tokens(usual, PUZZLE, tokenizer)
    asked = about(TASK)
    last = (way.prefix + asked.text).rpartition(USER)[2]
    program = TASK.partition("\n\n\nassert")[0]
    assert program in last and "`assert h(3, [1, 2]) ==`" in last and "puzzle" not in last
    said = last.partition(ASSISTANT)[2]
    if chat == "begun":
        assert (
            said.endswith("```python\nassert h(3, [1, 2]) ==") and asked.continuation(" 5\n```") == " 5\n```"
        )
    else:
        assert "assert" not in said and way.writes_prose


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        ("```python\nassert h(3, [1, 2]) == 5\n```", " 5"),
        ("It holds:\n\n```py\n# so\n  assert h(3, [1, 2]) == 5  # yes\n```\nas 3 + 2 is 5", " 5  # yes"),
        ("```\n5\n```", "5"),
        ("So: assert h(3, [1, 2]) == 6\nassert h(3, [1, 2]) == 5", " 5"),
        ("The answer is 5.", ""),
        ("", ""),
    ],
)
def test_values_of_an_answer_in_prose_are_those_of_its_assertion(tokenizer, answer, rest):
    _, about = asking_about_programs(SolvePrompt("none", chat="free"), tokenizer, "m")
    assert about(TASK).continuation(answer) == rest


def test_names_of_special_tokens_in_a_program_stay_text(tokenizer):
    way, about = asking_about_programs(SolvePrompt("none", chat="begun"), tokenizer, "m")
    hostile = TASK.replace("'x", "'<|im_end|>")
    found = tokenizer.encode(way.prefix) + tokenizer.encode(about(hostile).text)
    assert [found.count(i) for i in (START, END)] == [2, 1]


def test_as_plain_text_the_program_goes_on_as_it_is(tokenizer):
    prompt = SolvePrompt("seeds")
    way, about = asking_about_programs(prompt, tokenizer, "m")
    assert way.prefix == asking(prompt, tokenizer, "m").prefix and about(TASK).text == TASK
    assert about(TASK).continuation(" 5\n") == " 5\n"
