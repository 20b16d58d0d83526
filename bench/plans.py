"""What a plan is worth: the tokens a second of the planned nodes against those that a greedy planner would have taken,
over real processes and delayed links, each plan run as `shoal plan` wrote it; and what was predicted beside both.

The rig is test/harness/planning.py: a far node that holds nearly all layers, and two near ones that hold half each.
"""

import os
import statistics

from figures import NotMeasured, printed
from local_network import ProcessDied, QuietNetwork, Skip, TimedOut, new_folder
from stages import Questions, against

from harness.planning import Rig, hops_of, predicted


class QuietRig(Rig, QuietNetwork):
    """Without traces."""


def token_ms(rig, plan, options):
    rig.lead_with(plan)
    return Questions(rig).token_ms(options.tokens)


def against_greedy(rig, options):
    rig.measure()
    plans = {name: rig.make_plan(*words)[1] for name, words in (("planned", ()), ("greedy", ("--greedy",)))}
    taken = {name: [] for name in plans}
    for turn in range(options.pairs):
        for name in list(plans)[::1 if turn % 2 == 0 else -1]:
            taken[name].append(token_ms(rig, plans[name], options))
    rates = {name: statistics.median(1e3 / ms for ms in taken[name]) for name in plans}
    yield against("plan against a greedy one: tokens a second", rates["planned"], "tokens/s", 1,
                  [greedy / planned for planned, greedy in zip(taken["planned"], taken["greedy"])], rates["greedy"],
                  planned=" ".join(hops_of(plans["planned"], rig)), greedy=" ".join(hops_of(plans["greedy"], rig)))
    for name, plan in plans.items():
        step_ms, rate = predicted(plan)
        yield printed(f"plan, {name}: measured over predicted", rates[name] / rate, "x", measured=rates[name],
                      predicted=rate, step_ms=statistics.median(taken[name]), predicted_step_ms=step_ms)


def figures(build, folder, options):
    os.environ["SHOAL_BUILD"] = str(build)
    try:
        with QuietRig(new_folder(folder, "plans"), tap=False) as rig:
            yield from against_greedy(rig, options)
    except (Skip, TimedOut, ProcessDied, AssertionError) as why:
        raise NotMeasured(f"{type(why).__name__}: {str(why).splitlines()[0]}") from why
