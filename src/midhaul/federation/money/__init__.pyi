from .budget import BudgetGuard as BudgetGuard, Budgets as Budgets, Refusal as Refusal
from .ledger import Ledger as Ledger
from .ledger_file import read_ledger as read_ledger
from .prices import PriceList as PriceList, shipped_price_list as shipped_price_list
