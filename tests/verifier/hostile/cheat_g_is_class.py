# Defines g as a class: calling it makes an instance.
# expect: bad_answer
class g:
    def __eq__(self, other):
        return True
