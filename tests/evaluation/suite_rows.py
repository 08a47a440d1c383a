"""Tasks of our own in the forms of HumanEval+, MBPP+ and MBPP, with what a good and a bad model would go on with."""

HALF = {
    "task_id": "HumanEval/900",
    "prompt": "import math\n\n\ndef sign(x):\n    return 1\n\n\ndef half(x):\n"
    '    """Half of it, down.\n    >>> half(3)\n    1\n    """\n',
    "entry_point": "half",
    "canonical_solution": "    return math.floor(x / 2)\n",
    "base_input": [[1], [4]],
    "plus_input": [[-7]],
    "atol": 0,
}
SHARED = {
    "task_id": "Mbpp/900",
    "prompt": '"""\nWrite a function to find the shared elements.\nassert shared([1, 2], [2, 3]) == [2]\n"""\n',
    "entry_point": "shared",
    "canonical_solution": "\ndef shared(a, b):\n    return [x for x in a if x in b]\n",
    "base_input": [[[1, 2], [2, 3]]],
    "plus_input": [[[1, 1], [1]], [[], [5]]],
    "atol": 0,
}
MBPP = {
    "task_id": 7,
    "text": 'Write a function that says """hello\\n""" n times.',
    "code": "def hello(n):\n    return ['hello'] * n",
    "test_setup_code": "",
    "test_list": ["assert hello(2) == ['hello', 'hello']", "assert hello(0) == []"],
}
