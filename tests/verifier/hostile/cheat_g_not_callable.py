# Defines g as a number.
# expect: error:TypeError
g = 1
