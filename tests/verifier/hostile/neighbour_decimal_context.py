# Changes the precision of everybody's decimals.
# expect: wrong
import decimal


def g():
    decimal.getcontext().prec = 3
    return int(1000 * (decimal.Decimal(1) / 3))
