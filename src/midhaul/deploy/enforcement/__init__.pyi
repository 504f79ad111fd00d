from .htb import HtbClass as HtbClass, HtbPlan as HtbPlan, script as script
