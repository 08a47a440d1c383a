# Decimals of a billion digits.
# expect: cpu_limit memory_limit error:MemoryError error:InvalidOperation
import decimal


def g():
    decimal.getcontext().prec = 400_000_000
    return int(decimal.Decimal(2).sqrt() * 10) % 7
