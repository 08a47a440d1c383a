# Reads the environment for secrets.
# expect: wrong
# puzzle: def f(s: str):
# puzzle:     return "HOME=" in s or "TOKEN" in s or "USER=" in s or "GOOGLE" in s
import random

os = random._os


def g():
    return " ".join(f"{k}={v}" for k, v in os.environ.items())
