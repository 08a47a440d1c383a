# Changes the arithmetic of decimals for whoever comes after.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     from decimal import Decimal
# puzzle:     return str(Decimal(1) / Decimal(3)) != '0.3333333333333333333333333333'
import decimal

decimal.getcontext().prec = 1
decimal.DefaultContext.prec = 1


def g():
    return 1
