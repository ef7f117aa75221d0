# SPDX-License-Identifier: Apache-2.0
"""Scenarios of bench/peers in which many share one repository: clones of a template (B12), writers at once (B13),
backups while others are deleted and collected (B15), and an index of very many chunks (B16)."""
import os
import random
import shutil
import statistics
import subprocess
import threading
import time

MIB = 1 << 20
CHUNK = 256 << 10
CLONES = 10
WRITERS = 8
PATIENCE = 30  # seconds: a collector that is refused asks again
INDEX_MILLIONS = 100
INDEX_LIMIT_MIB = 256
WHAT = {"B12": "clone 2..10 of a template", "B13": "8 writers at once", "B15": "half of the backups deleted",
        "B16": "index of 100 million chunks"}
# Bytes stored for a clone / its private bytes: these lie in runs of 1 MiB that begin anywhere at 64 KiB, which touch 4.75 chunks
# of 256 KiB each, 1.19 times as much.
PRIVATE_AIM = 1.25
SPACE_AIM = 1.05  # bytes stored after a collection / those that are needed


def scatter(path, share, unit, align, source):
    """Overwrite `share` of a file in runs of `unit` bytes of random data, one in each of as many equal parts. Returns their offsets."""
    size = os.path.getsize(path)
    count = max(1, int(size * share / unit))
    part = size // count
    offsets = []
    with open(path, "r+b") as out:
        for i in range(count):
            offsets.append(i * part // align * align + source.randrange(max(1, (part - unit) // align)) * align)
            out.seek(offsets[-1])
            out.write(source.randbytes(unit))
    return offsets


def row(scenario, program, walls, runs, size, extra, **more):
    seconds = statistics.median(walls)
    return {"scenario": scenario, "program": program.name, "seconds": seconds, "min": min(walls), "max": max(walls),
            "cpu_seconds": statistics.median(r.cpu for r in runs), "peak_mib": max(r.rss for r in runs),
            "mb_per_s": size / seconds / 1e6, "stored": program.stored(), "extra": extra, **more}


def clones(bench, programs):
    """Each clone is a VM of its own: no program is told that they have something in common."""
    source = random.Random(20260812)  # private data: a twentieth
    template, image = bench.os_data(bench.size // 4), os.path.join(bench.dir, "clone.img")
    size = os.path.getsize(template)
    runs, first = {p: [] for p in programs}, {}
    private = 0
    for program in programs:
        program.fresh()
    for n in range(CLONES):
        shutil.copyfile(template, image)
        private = len(scatter(image, 0.05, MIB, 64 << 10, source)) * MIB
        bench.image = image
        for program in programs:
            run = program.full(image, f"clone{n}")
            if n == 0:
                first[program] = program.stored()
            else:
                runs[program].append(run)
            if n == CLONES - 1:
                program.restore()
                subprocess.run(["cmp", image, program.out], check=True)
    for program in programs:
        more = (program.stored() - first[program]) / (CLONES - 1)
        yield row("B12", program, [r.wall for r in runs[program]], runs[program], size,
                  f"stored {more / 1e6:.1f} MB for {private / 1e6:.1f} private", stored_each=more, private_each=private)
        shutil.rmtree(program.dir)
    os.unlink(image)


class Background(threading.Thread):
    """Calls a function again and again until it is stopped: how often that went well, and how often not."""

    def __init__(self, function):
        super().__init__()
        self.function, self.is_stopping = function, False
        self.done = self.failed = 0

    def run(self):
        while not self.is_stopping:
            try:
                self.function()
                self.done += 1
            except RuntimeError:
                self.failed += 1

    def stop(self):
        self.is_stopping = True
        self.join()


def write_all(program, images):
    """Everybody begins at once. Wall seconds of all together, the runs, failures."""
    runs, failures, begin = [], [], time.monotonic()

    def one(n):
        try:
            runs.append(program.full(images[n], f"vm{n}"))
        except RuntimeError as e:
            failures.append(str(e))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(images))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return time.monotonic() - begin, runs, len(failures)


class Together:
    """The runs of several at once as one."""

    def __init__(self, runs):
        self.cpu = sum(r.cpu for r in runs)
        self.rss = max(r.rss for r in runs)


def writers(bench, programs):
    """For vmkeep a collector of garbage runs all the time; the others cannot have one beside writers, and are measured without.
    Once with --quick: borg's writers wait for each other, for minutes on a busy machine."""
    template = bench.os_data(2 * bench.size)
    part = os.path.getsize(template) // WRITERS // MIB * MIB
    images = [os.path.join(bench.dir, f"vm{n}.img") for n in range(WRITERS)]
    with open(template, "rb") as data:
        for image in images:
            with open(image, "wb") as out:
                out.write(data.read(part))
    os.unlink(template)
    walls, runs, failures, spread = ({p: [] for p in programs} for _ in range(4))
    collected = refused = 0
    for _ in range(1 if bench.is_quick else bench.runs):
        for program in programs:
            program.fresh()
            collector = Background(program.collect) if program.collects_beside_writers else None
            if collector:
                collector.start()
            wall, some, failed = write_all(program, images)
            if collector:
                collector.stop()
                collected, refused = collected + collector.done, refused + collector.failed
                program.verify()
            walls[program].append(wall)
            runs[program].append(Together(some))
            failures[program].append(failed)
            spread[program].append(max(r.wall for r in some) / min(r.wall for r in some))
    for program in programs:
        extra = f"{sum(failures[program])} failed, slowest/fastest {statistics.median(spread[program]):.1f}"
        if program.collects_beside_writers:
            extra += f", {collected} collections beside them, {refused} failed"
        yield row("B13", program, walls[program], runs[program], part * WRITERS, extra, failures=sum(failures[program]) + (refused if program.collects_beside_writers else 0))
        shutil.rmtree(program.dir)
    for image in images:
        os.unlink(image)


def blocked(program, image, collector):
    """Back up again and again while the collector works. Seconds from the wish to the backup, and refusals."""
    walls, refused = [], 0
    while collector.is_alive() or not walls:
        begin = time.monotonic()
        while True:
            try:
                program.full(image, "vm")
                break
            except RuntimeError:
                refused += 1
                time.sleep(0.05)
        walls.append(time.monotonic() - begin)
    return walls, refused


def deletion(bench, programs):
    """A VM whose disk changes by a tenth between backups; then the older half of its backups is deleted and collected, while it is
    backed up (unchanged) again and again. All is random: so what is needed afterwards is known."""
    count = 30 if bench.is_quick else 100
    size = (32 if bench.is_quick else 128) * MIB
    image, source = os.path.join(bench.dir, "vm.img"), random.Random(20260815)
    with open(image, "wb") as out:
        for _ in range(size // MIB):
            out.write(source.randbytes(MIB))
    ids = {p: [] for p in programs}
    dead = 0
    for program in programs:
        program.fresh()
    for n in range(count):
        if n > 0:
            changed = len(scatter(image, 0.1, MIB, CHUNK, source)) * MIB
            # What was there until now is in backups that are deleted only.
            dead += changed if n <= count // 2 else 0
        for program in programs:
            program.full(image, "vm")
            ids[program].append(program.id)
    for program in programs:
        runs = [program.full(image, "vm") for _ in range(3)]
        alone = statistics.median(r.wall for r in runs)
        before = program.stored()
        times, collects_refused = [], []

        def collect():
            begin = time.monotonic()
            while time.monotonic() - begin < PATIENCE:
                try:
                    program.drop(ids[program][:count // 2])
                    times.append(time.monotonic() - begin)
                    return
                except RuntimeError:  # as restic does while a backup has its lock
                    collects_refused.append(1)
                    time.sleep(0.05)

        collector = threading.Thread(target=collect)
        collector.start()
        walls, refused = blocked(program, image, collector)
        collector.join()
        how = f"{refused} backups and {len(collects_refused)} collections refused"
        if not times:
            begin = time.monotonic()
            program.drop(ids[program][:count // 2])
            times.append(time.monotonic() - begin + PATIENCE)
            how += f", not collected within {PATIENCE} s of backups"
        freed = before - program.stored()
        program.verify()
        yield row("B15", program, times, runs, before,
                  f"freed {freed / 1e6:.0f} MB, longest backup meanwhile {max(walls):.2f} s (alone {alone:.2f}), {how}",
                  freed=freed, needed=before - dead, longest=max(walls), alone=alone, refused=refused,
                  collects_refused=len(collects_refused))
        shutil.rmtree(program.dir)
    os.unlink(image)


def big_index(bench, programs):
    """Only vmkeep: the index is made up, what is done with it is not. Peak memory of a backup that finds and stores chunks, of look-ups, and of a merge."""
    ours = programs[0]
    bench_program = os.path.join(bench.build, "bench/index-bench")
    key = bench.env["VMKEEP_KEY_FILE"]
    image = bench.os_data(bench.size)
    size = os.path.getsize(image)
    ours.fresh()
    ours.full(image, "template")
    made = ours.run(bench_program, "make", ours.repo, key, ours.id, INDEX_MILLIONS)
    clone = os.path.join(bench.dir, "clone.img")
    shutil.copyfile(image, clone)
    scatter(clone, 0.5, MIB, 64 << 10, random.Random(20260816))
    backup = ours.full(clone, "clone")
    runs = {"backup": backup}
    for name in ("find", "merge", "find again"):
        runs[name] = (ours.run(bench.vmkeep, "index", ours.repo) if name == "merge" else
                      ours.run(bench_program, "find", ours.repo, key, INDEX_MILLIONS, 20000))
    segments, entries, memory, listed, others = runs["find"].out.split()
    yield row("B16", ours, [backup.wall], list(runs.values()), size,
              f"{int(entries) / 1e6:.0f} million chunks in {segments} segments; peak MiB: "
              + ", ".join(f"{name} {r.rss:.0f}" for name, r in runs.items())
              + f"; a look-up {listed} us if it is listed, {others} us if not; merge {runs['merge'].wall:.1f} s",
              made=int(made.out), memory=int(memory), rss_mib={name: r.rss for name, r in runs.items()})
    shutil.rmtree(ours.dir)
    os.unlink(clone)


def measure(bench, programs, wanted):
    """Rows of all the scenarios that are wanted."""
    keeping = [p for p in programs if p.keeps_many]
    for name, function in (("B12", clones), ("B13", writers), ("B15", deletion), ("B16", big_index)):
        if name in wanted:
            yield from function(bench, keeping)


def judge(scenario, ours, peers):
    """Is the aim of the scenario met?"""
    if scenario == "B12":
        return f"aim {PRIVATE_AIM} times the private bytes", ours["stored_each"] <= PRIVATE_AIM * ours["private_each"]
    if scenario == "B13":
        best = min((p["seconds"] for p in peers), default=ours["seconds"])
        return "aim no failure, and faster than the best of restic and borg", ours["failures"] == 0 and ours["seconds"] <= best
    if scenario == "B15":
        return (f"aim nobody refused, at most {SPACE_AIM} times what is needed ({(ours['stored']) / ours['needed']:.3f})",
                ours["refused"] == 0 and ours["stored"] <= SPACE_AIM * ours["needed"])
    return f"aim {INDEX_LIMIT_MIB} MiB", ours["peak_mib"] <= INDEX_LIMIT_MIB
