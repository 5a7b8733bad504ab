"""Cases: what a machine cannot decide, listed for a person, each once while it is open."""

from kassa.cases.listing import Case, cases_about, close_case, close_cases, find_case, find_cases, forget, open_case

__all__ = ["Case", "cases_about", "close_case", "close_cases", "find_case", "find_cases", "forget", "open_case"]
