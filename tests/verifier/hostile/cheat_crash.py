# Crashes the interpreter with made-up bytecode.
# expect: killed error:SystemError
def g():
    code = g.__code__.replace(co_code=bytes([100, 255] * 50), co_consts=(), co_stacksize=1)
    exec(code)
    return 1
