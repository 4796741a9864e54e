"""`typing.Protocol` for type checkers, of which nothing is asked when programs run: a class like any other then.

To make one of typing's takes ten times as long, and every start would wait for some twenty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol as Protocol
else:

    class Protocol:
        def __class_getitem__(cls, parameters: object) -> type:
            return cls
