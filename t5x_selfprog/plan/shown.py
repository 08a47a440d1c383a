"""A plan as lines for people."""

import re
from typing import Any

from t5x_selfprog.plan import policy, simulation, slices
from t5x_selfprog.plan.slices import GIB


def describe(plan: dict[str, Any]) -> str:
    """The plan of one slice as lines for people."""
    hbm = plan["hbm_gib"]
    lora = plan.get("lora")
    adapters = f", {lora['weights']:,} of adapters beside them in {lora['base_dtype']}" if lora else ""
    chips = "chips" if slices.named(plan["slice"]).chip.halves == 1 else "halves of chips"
    lines = [f"\n{plan['slice']}: {plan['chips']} {chips}, {plan['parameters']:,} weights{adapters}"]
    for name, program in plan["programs"].items():
        needs = sum(program["bytes"].values()) / GIB
        if program["error"]:
            said = re.search(r"Used [\d.]+\w+ of [\d.]+\w+ hbm[^.]*\.?[^.]*", program["error"])
            lines.append(
                f"  {name:<14} does not fit: {said[0] if said else program['error'].splitlines()[0][:200]}"
            )
        else:
            took = f"; compiled in {program['compile_s']:.0f} s" if program["compile_s"] else ""
            lines.append(f"  {name:<14} {needs:6.2f} of {hbm:.2f} GiB a chip, {hbm - needs:+.2f} left{took}")
    if "policy" in plan:
        lines.append(policy.describe(plan))
    if "ways_out" in plan:
        return "\n".join(
            [*lines, "  It does not fit. Ways out:", *(f"    {way}" for way in plan["ways_out"])]
        )
    rate, run, times = plan["rates"], plan["run"], plan["times"]
    low, high = rate["mfu"]
    empty = plan.get("rows_computed", plan["batch_size"]) - plan["batch_size"]
    if empty:
        lines.append(
            f"           {empty} empty rows beside the {plan['batch_size']} of a batch keep all chips in step"
        )
    lines.append(
        f"  train    {rate['train'][0]:,.0f} to {rate['train'][1]:,.0f} tokens/s/chip, MFU {low:.2f} to {high:.2f}; "
        f"roofline ({times['train']['limited_by']}) {times['train']['roofline_s'] * 1e3:,.1f} ms a step, compiler "
        f"{times['train']['compute_s'] * 1e3:,.1f} ms and links {times['train']['links_s'] * 1e3:,.1f} ms"
    )
    lines.append(
        f"  decode   {rate['decode'][0]:,.0f} to {rate['decode'][1]:,.0f} tokens/s/chip at {plan['rows']:,} rows; "
        f"roofline ({times['decode']['limited_by']}) {times['decode']['roofline_s'] * 1e3:,.2f} ms a step, compiler "
        f"{times['decode']['compute_s'] * 1e3:,.2f} ms"
    )
    if "largest_batch" in plan:
        lines.append(f"  largest batch that fits: {plan['largest_batch']} rows of {plan['length']}")
    stages = ", ".join(f"{name} {hours:,.2f} h" for name, hours in run["slice_hours"].items())
    dollars = f"${run['usd']:,.0f} at ${plan['usd_per_chip_hour']:.2f}"
    lines.append(f"  run      {stages}")
    lines.append(
        f"           {run['chip_hours']:,.0f} chip-hours, {dollars}; "
        f"{run['verdicts']:,.0f} verdicts, {run['verifier_core_hours']:,.0f} core-hours: "
        f"{run['cores_to_keep_up']:,.0f} of the hosts' {run['host_cores']:,} cores keep up; "
        f"{run['storage_gib']:,.0f} GiB"
    )
    if "simulated" in plan:
        s = plan["simulated"]
        lines.append(
            f"  simulated {s['total_s'] / 3600:,.2f} h, goodput {s['goodput']:.1%}: waiting for verdicts "
            f"{s['waiting_s'] / s['total_s']:.1%}, work done again {s['lost_s'] / s['total_s']:.1%}, away "
            f"{s['away_s'] / s['total_s']:.1%} ({s['preemptions']:.1f} preemptions); "
            f"{s['cores_a_host']} cores of a host judge, {s['cores_a_host_needed']:,} keep its chips busy"
            f"{simulation.fleet_words(s)}"
        )
        lines.append(f"  growth   {simulation.growth_words(s)}")
    return "\n".join(lines)


def table(plans: list[dict[str, Any]]) -> str:
    """One line per slice."""
    rows = [f"\n{'slice':<10}{'chips':>6}{'fits':>6}{'train tok/s/chip':>18}{'MFU':>7}{'decode':>10}"
            f"{'hours':>9}{'chip-hours':>12}{'USD':>10}"]  # fmt: skip
    for plan in plans:
        head = f"{plan['slice']:<10}{plan['chips']:>6}"
        if "run" not in plan:
            rows.append(f"{head}{'no':>6}")
            continue
        rate, run = plan["rates"], plan["run"]
        dollars = f"{run['usd']:,.0f}" if run["usd"] else "-"
        rows.append(
            f"{head}{'yes':>6}{rate['train'][0]:>18,.0f}{rate['mfu'][0]:>7.2f}{rate['decode'][0]:>10,.0f}"
            f"{sum(run['slice_hours'].values()):>9,.1f}{run['chip_hours']:>12,.0f}{dollars:>10}"
        )
    return "\n".join(rows)
