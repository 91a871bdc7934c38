"""Arithmetic expressions: 32-bit integers with C's operators, as in mksh."""

import re
from collections.abc import Callable, MutableMapping

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+#?\w*|[A-Za-z_]\w*|<<=|>>=|\+\+|--|<<|>>|&&|\|\||[-+*/%&|^<>=!]=|.)", re.ASCII
)
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip
_DEEPEST = 50  # nested variables and parentheses


class ArithmeticFault(Exception):
    """An expression without a value, in mksh's words."""


def evaluate(expression: str, variables: MutableMapping[str, str], depth: int = 0) -> int:
    """Return the value of an expression. Assignments change `variables`. Raises ArithmeticFault."""
    if depth > _DEEPEST:
        raise ArithmeticFault(f"{expression}: expression recurses on parameter")
    return _Evaluation(expression, variables, depth).value() if expression.strip() else 0


def _wrapped(value: int) -> int:
    return (value + 0x80000000) % 0x100000000 - 0x80000000


class _Evaluation:
    def __init__(self, expression: str, variables: MutableMapping[str, str], depth: int) -> None:
        self._expression, self._variables, self._depth = expression.strip(), variables, depth
        self._tokens = [match[1] for match in _TOKEN.finditer(self._expression)]
        self._at = 0

    def value(self) -> int:
        result = self._comma()
        if self._at < len(self._tokens):
            raise self._fault(f"unexpected '{self._peek()}'")
        return result

    def _fault(self, reason: str) -> ArithmeticFault:
        return ArithmeticFault(f"{self._expression}: {reason}")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else "end of expression"

    def _take(self, *choices: str) -> str:
        token = self._peek() if self._at < len(self._tokens) else ""
        if token and token in choices:
            self._at += 1
            return token
        return ""

    def _comma(self) -> int:
        result = self._assignment()
        while self._take(","):
            result = self._assignment()
        return result

    def _assignment(self) -> int:
        operators = ("=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "|=", "^=")
        if self._at + 1 < len(self._tokens) and self._tokens[self._at + 1] in operators and self._is_name(self._peek()):
            name, operator = self._tokens[self._at : self._at + 2]
            self._at += 2
            right = self._assignment()
            return self._set(name, right if operator == "=" else self._apply(operator[:-1], self._of(name), right))
        return self._condition()

    def _condition(self) -> int:
        test = self._binary(0)
        if not self._take("?"):
            return test
        if_true = self._comma()
        if not self._take(":"):
            raise self._fault(f"unexpected '{self._peek()}'")
        if_false = self._condition()
        return if_true if test else if_false

    def _binary(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while operator := self._take(*_LEVELS[level]):
            left = self._apply(operator, left, self._binary(level + 1))
        return left

    def _apply(self, operator: str, left: int, right: int) -> int:
        if operator in ("/", "%") and right == 0:
            raise self._fault("zero divisor")
        operations: dict[str, Callable[[], int]] = {
            "||": lambda: int(bool(left or right)),
            "&&": lambda: int(bool(left and right)),
            "|": lambda: left | right,
            "^": lambda: left ^ right,
            "&": lambda: left & right,
            "==": lambda: int(left == right),
            "!=": lambda: int(left != right),
            "<": lambda: int(left < right),
            "<=": lambda: int(left <= right),
            ">": lambda: int(left > right),
            ">=": lambda: int(left >= right),
            "<<": lambda: left << (right % 32),
            ">>": lambda: left >> (right % 32),
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1),
            "%": lambda: abs(left) % abs(right) * (-1 if left < 0 else 1),
        }
        return _wrapped(operations[operator]())

    def _unary(self) -> int:
        if operator := self._take("++", "--"):
            name = self._name()
            return self._set(name, self._of(name) + (1 if operator == "++" else -1))
        if operator := self._take("-", "+", "!", "~"):
            operand = self._unary()
            return _wrapped({"-": -operand, "+": operand, "!": int(not operand), "~": ~operand}[operator])
        if self._take("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise self._fault("too deeply nested")
            result = self._comma()
            if not self._take(")"):
                raise self._fault("missing )")
            return result
        token = self._peek()
        if token[0].isdigit() and token.isascii():
            self._at += 1
            return self._number(token)
        name = self._name()
        before = self._of(name)
        if operator := self._take("++", "--"):
            self._set(name, before + (1 if operator == "++" else -1))
        return before

    def _name(self) -> str:
        token = self._peek()
        if self._at >= len(self._tokens) or not self._is_name(token):
            raise self._fault(f"unexpected '{token}'")
        self._at += 1
        return token

    @staticmethod
    def _is_name(token: str) -> bool:
        return re.fullmatch(r"[A-Za-z_]\w*", token, re.ASCII) is not None

    def _number(self, token: str) -> int:
        base, _, digits = token.rpartition("#")
        try:
            if base:
                return _wrapped(int(digits, int(base)))
            return _wrapped(int(token, 16 if token[:2] in ("0x", "0X") else 10))
        except ValueError:
            raise self._fault(f"bad number '{token}'") from None

    def _of(self, name: str) -> int:
        return evaluate(self._variables.get(name, "0") or "0", self._variables, self._depth + 1)

    def _set(self, name: str, value: int) -> int:
        value = _wrapped(value)
        self._variables[name] = str(value)
        return value
