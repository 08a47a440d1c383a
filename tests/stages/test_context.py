"""What an experiment's settings refuse when they are made."""

import pytest

from t5x_selfprog.stages.context import Experiment
from verifier.errors import UserError


@pytest.mark.parametrize("field", ["judges", "start", "writer", "docstrings"])
def test_a_choice_that_there_is_not_is_refused(field):
    with pytest.raises(UserError, match=rf"Experiment\.{field}='nobody': choose '"):
        Experiment(**{field: "nobody"})
