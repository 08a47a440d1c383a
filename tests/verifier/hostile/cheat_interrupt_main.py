# Interrupts itself with the exception that ends interpreters.
# expect: wrong killed error:KeyboardInterrupt error:AttributeError error:KeyError
import statistics


def g():
    statistics.sys.modules["_thread"].interrupt_main()
    return 1
