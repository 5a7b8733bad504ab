"""The faces: pages for buyers, operators and developers, rendered here, whole without a script and better with one.

`shop` is a small storefront for the demo channel, `buyer` the pay page and the tracking page, `office` the back office, `develop`
the developers' corner. Each is a folder with its routes. What they share stands here: `frame` (templates and headers), `language`,
`show` (money and times), `form` (what is sent in, and by whom), `cookies`, `refusals`.
"""

from kassa.pages.app import GROUPS, PREFIXES, PageOptions, Refusals, pages_routers

__all__ = ["GROUPS", "PREFIXES", "PageOptions", "Refusals", "pages_routers"]
