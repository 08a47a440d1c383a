# Imports it in evaluated text.
# expect: error:ImportError
def g():
    return eval("__import__('subprocess').call(['true'])")
