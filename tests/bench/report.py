"""Tables and a picture of what was measured."""
import json
import os
import statistics
from xml.sax.saxutils import escape

BASE = "stock/stock"
COLOURS = {"stock/stock": "#888888", "stock/ours": "#4e79a7", "ours/stock": "#f28e2b", "ours/ours": "#59a14f"}


def cpu(run, side):
    return run[side + "_user"] + run[side + "_sys"]


def line(run):
    if "lag_p99" in run:
        text = "%4.0f/s; lag median %.3f s, p90 %.3f s, p99 %.3f s; " % tuple(run[k] for k in ("rate", "lag_median", "lag_p90", "lag_p99"))
        return text + usage(run)
    text = "%7.2f s; " % run["wall"] + usage(run)
    if "round_trips" in run:
        text += "; %d round trips" % run["round_trips"]
    return text


def usage(run):
    text = "CPU client %.2f s, server %.2f s; peak %.1f and %.1f MiB" % (
        cpu(run, "client"), cpu(run, "server"), run["client_rss_kib"] / 1024, run["server_rss_kib"] / 1024)
    if "server_syncs" in run:
        text += "; %d syncs" % run["server_syncs"]
    if run["others"] > 0.2 * run["wall"]:
        text += "; others %.1f s" % run["others"]
    return text + ("; PROBLEM " + run["problem"].strip() if "problem" in run else "")


def spread(values, digits=2):
    text = "%.*f" % (digits, statistics.median(values))
    return text if len(values) == 1 else text + " (%.*f–%.*f)" % (digits, min(values), digits, max(values))


def ratios(runs, base, value):
    """Of each round, against stock/stock in the same round."""
    pairs = [value(run) / value(first) for run, first in zip(runs, base) if value(first)]
    return spread(pairs) if pairs else ""


def problems(job):
    found = ["%s: %s" % (pairing, run["problem"].strip()) for pairing, runs in job["runs"].items() for run in runs if "problem" in run]
    return ["**Failed:** " + problem for problem in found]


def rolling_table(job):
    base = job["runs"].get(BASE, [])
    rows = ["| client/server | deliveries/s | of stock | lag median s | lag p99 s | of stock | CPU client ms each | CPU server ms each | both of stock | peak RSS MiB |",
            "|---|---|---|---|---|---|---|---|---|---|"]
    each = lambda run, side: 1000 * cpu(run, side) / max(1, run["messages"])  # noqa: E731
    for pairing, runs in job["runs"].items():
        rows.append("| " + " | ".join([
            pairing, spread([run["rate"] for run in runs], 1), ratios(runs, base, lambda run: run["rate"]),
            spread([run["lag_median"] for run in runs], 3), spread([run["lag_p99"] for run in runs], 3), ratios(runs, base, lambda run: run["lag_p99"]),
            spread([each(run, "client") for run in runs]), spread([each(run, "server") for run in runs]),
            ratios(runs, base, lambda run: each(run, "client") + each(run, "server")),
            "%.1f / %.1f" % tuple(max(run[side + "_rss_kib"] for run in runs) / 1024 for side in ("client", "server"))]) + " |")
    return "\n".join(rows + [""] + problems(job))


def table(job):
    if any("lag_p99" in run for runs in job["runs"].values() for run in runs):
        return rolling_table(job)
    base = job["runs"].get(BASE, [])
    rows = ["| client/server | wall s | of stock | CPU client s | CPU server s | both of stock | peak RSS MiB | messages/s | MB/s | written MB | syncs | round trips | MB up / down |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for pairing, runs in job["runs"].items():
        walls = [run["wall"] for run in runs]
        rows.append("| " + " | ".join([
            pairing, spread(walls), ratios(runs, base, lambda run: run["wall"]),
            spread([cpu(run, "client") for run in runs]), spread([cpu(run, "server") for run in runs]),
            ratios(runs, base, lambda run: cpu(run, "client") + cpu(run, "server")),
            "%.1f / %.1f" % tuple(max(run[side + "_rss_kib"] for run in runs) / 1024 for side in ("client", "server")),
            spread([job["messages"] / wall for wall in walls], 0), spread([job["octets"] / 1e6 / wall for wall in walls], 1),
            spread([run["server_written"] / 1e6 for run in runs], 1),
            spread([run["server_syncs"] for run in runs], 0) if "server_syncs" in runs[0] else "",
            spread([run["round_trips"] for run in runs], 0) if "round_trips" in runs[0] else "",
            " / ".join(spread([run[key] / 1e6 for run in runs], 2) for key in ("bytes_up", "bytes_down")) if "bytes_up" in runs[0] else ""]) + " |")
    return "\n".join(rows + [""] + problems(job))


def picture(results):
    """Wall time of each pairing as a share of stock/stock's."""
    bars, y = [], 20
    for name, job in results.items():
        base = [run["wall"] for run in job["runs"].get(BASE, [])]
        if not base or "lag_p99" in job["runs"][BASE][0]:
            continue
        bars.append('<text x="10" y="%d" font-weight="bold">%s</text>' % (y + 12, escape(name)))
        y += 18
        for pairing, runs in job["runs"].items():
            share = statistics.median(run["wall"] for run in runs) / statistics.median(base)
            bars.append('<text x="20" y="%d">%s</text><rect x="110" y="%d" width="%.1f" height="12" fill="%s"/>'
                        '<text x="%.1f" y="%d">%.2f (%.2f s)</text>' % (
                            y + 11, pairing, y, min(share, 1.5) * 400, COLOURS[pairing], 116 + min(share, 1.5) * 400, y + 11,
                            share, statistics.median(run["wall"] for run in runs)))
            y += 16
        y += 8
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="860" height="%d" font-family="sans-serif" font-size="12">'
            '<rect width="100%%" height="100%%" fill="white"/>%s</svg>\n' % (y + 10, "".join(bars)))


def write(directory, results):
    with open(os.path.join(directory, "bench.json"), "w") as file:
        json.dump(results, file, indent=1)
    with open(os.path.join(directory, "bench.md"), "w") as file:
        for name, job in results.items():
            if job["runs"]:
                file.write("## %s: %s (%d messages, %.0f MB)\n\n%s\n\n" % (
                    name, job["title"], job["messages"], job["octets"] / 1e6, table(job)))
    with open(os.path.join(directory, "bench.svg"), "w") as file:
        file.write(picture(results))
