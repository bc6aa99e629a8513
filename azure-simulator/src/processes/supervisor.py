"""The parent of every process that jobs start.

Commands come as JSON lines on standard input, reports go as JSON lines to standard output:

    {"start": KEY, "read_only": ["...", ...], "writable": ["...", ...],
     "processes": [{"command": "...", "directory": "...", "log": "...", "environment": {...}}, ...]}
    {"terminate": KEY}      SIGTERM to the process of each rank
    {"kill": KEY}           SIGKILL to everything the job started
    -> {"started": KEY, "keeper": PID}
    -> {"failed": KEY, "process": RANK}     this one was the first to fail; all others are killed
    -> {"exited": KEY, "code": 0..255}      the job's last process is gone

Each job has a keeper of its own, a fork of this process that is the subreaper of the job: whatever
the job starts, in whatever session, stays a descendant of its keeper, so that all of it can be found
and killed. A keeper holds the reading end of a pipe whose other end only this process has. When this
process ends, however it ends, the keepers see the pipe close and kill their jobs. When standard input
closes, the simulator is gone, and this process ends.

What is read-only stays where it is. Where the machine allows a job a mount namespace of its own, it is
mounted there once more so that nobody in the job can write to it.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 1 << 5, 1 << 12, 1 << 14, 1 << 18
# What a mount has of these, as `statvfs` tells, it must keep.
KEPT_FLAGS = {os.ST_NOSUID: 1 << 1, os.ST_NODEV: 1 << 2, os.ST_NOEXEC: 1 << 3,
              os.ST_NOATIME: 1 << 10, os.ST_NODIRATIME: 1 << 11, os.ST_RELATIME: 1 << 21}
QUIT_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}{arguments}")


def become_subreaper():
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enter_mount_namespace():
    """Leaves the mounts of all others; who is not root gets a user namespace along with it."""
    try:
        call("unshare", CLONE_NEWNS)
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        for file, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{file}", "w") as map_file:
                map_file.write(text)
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)


def bind(path, read_only):
    """Mounts what is at `path` there once more."""
    place = os.fsencode(path)
    call("mount", place, place, None, MS_BIND | MS_REC, None)
    if read_only:
        told = os.statvfs(place).f_flag
        kept = sum(flag for shown, flag in KEPT_FLAGS.items() if told & shown)
        call("mount", None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, None)


def can_mount(folder):
    """Whether a process of ours may: tried by another one, as half of it cannot be taken back."""
    pid = os.fork()
    if pid == 0:
        try:
            enter_mount_namespace()
            bind(folder, True)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def protect(read_only, writable):
    """Takes from this process and all that it starts the right to write to `read_only`, but for
    what is `writable` in there."""
    if read_only and can_mount(writable[0]):
        enter_mount_namespace()
        for path in writable:
            bind(path, False)
        for path in read_only:
            bind(path, True)


def wake_on_child():
    """A descriptor that becomes readable when a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def drain(reader):
    try:
        while os.read(reader, 4096):
            pass
    except BlockingIOError:
        pass


def descendants(root):
    """Processes below `root` that are no zombies."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    state, parent = stat.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            children.setdefault(int(parent), []).append((int(entry), state))
    found, pending = [], [root]
    while pending:
        for pid, state in children.get(pending.pop(), ()):
            pending.append(pid)
            if state != b"Z":
                found.append(pid)
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_all_below():
    """Kills and reaps every descendant, and gives the wait status of each child.

    Processes start others while they are looked for, and one look at `/proc` may miss some, so it
    looks again until no child is left.
    """
    statuses = {}
    while True:
        kill(descendants(os.getpid()))
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
            while pid != 0:
                statuses[pid] = status
                pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return statuses
        time.sleep(0.002)


def write_to(log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def run_command(process):
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (*QUIT_SIGNALS, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        write_to(process["log"])
        os.chdir(process["directory"])
        os.execve("/bin/sh", ["sh", "-c", process["command"]], process["environment"])
    except OSError as problem:
        os.write(2, f"the job's command cannot be started: {problem}\n".encode())
    os._exit(126)


def keep(control, job):
    """The life of a keeper: starts the job's processes, ends when all of the job is gone."""
    for number in QUIT_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    reports = os.dup(1)
    write_to(job["processes"][0]["log"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    protect(job["read_only"], job["writable"])
    become_subreaper()
    child_ended = wake_on_child()
    # Rank by process, of those that are still there.
    running = {}
    for rank, process in enumerate(job["processes"]):
        pid = os.fork()
        if pid == 0:
            run_command(process)
        running[pid] = rank
    status = 0
    while running and status == 0:
        readable, _, _ = select.select([control, child_ended], [], [])
        drain(child_ended)
        if control in readable:
            word = os.read(control, 64)
            if b"t" in word and b"k" not in word:
                for pid in running:
                    os.kill(pid, signal.SIGTERM)
            else:
                status = kill_all_below().get(min(running), signal.SIGKILL)
                break
        while running and status == 0:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid in running:
                rank, status = running.pop(pid), ended
                if status != 0:
                    line = json.dumps({"failed": job["start"], "process": rank})
                    os.write(reports, line.encode() + b"\n")
    # A container ends with its first process, and a job with the first rank that fails.
    kill_all_below()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


class Supervisor:
    def __init__(self):
        become_subreaper()
        self.child_ended = wake_on_child()
        self.keepers = {}
        self.controls = {}
        self.quitting = False
        for number in QUIT_SIGNALS:
            signal.signal(number, self.quit)

    def quit(self, *_):
        self.quitting = True

    def report(self, **fields):
        os.write(1, json.dumps(fields).encode() + b"\n")

    def start(self, job):
        key = job["start"]
        control, ours = os.pipe()
        keeper = os.fork()
        if keeper == 0:
            try:
                signal.set_wakeup_fd(-1)
                for descriptor in (ours, self.child_ended, *self.controls.values()):
                    os.close(descriptor)
                keep(control, job)
            except BaseException as problem:
                with open(job["processes"][0]["log"], "a") as log:
                    log.write(f"the node cannot run the job: {problem!r}\n")
                kill_all_below()
            finally:
                os._exit(126)
        os.close(control)
        self.keepers[keeper] = key
        self.controls[key] = ours
        self.report(started=key, keeper=keeper)

    def tell(self, key, word):
        control = self.controls.get(key)
        if control is not None:
            try:
                os.write(control, word)
            except BrokenPipeError:
                pass

    def obey(self, line):
        command = json.loads(line)
        if "start" in command:
            self.start(command)
        elif "terminate" in command:
            self.tell(command["terminate"], b"t")
        elif "kill" in command:
            self.tell(command["kill"], b"k")

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            key = self.keepers.pop(pid, None)
            if key is None:
                continue
            os.close(self.controls.pop(key))
            if os.WIFSIGNALED(status):
                self.kill_orphans()
            code = os.waitstatus_to_exitcode(status)
            self.report(exited=key, code=code if code >= 0 else 128 - code)

    def kill_orphans(self):
        """Processes of a keeper that was killed are our children now."""
        kept = set(self.keepers)
        for keeper in self.keepers:
            kept.update(descendants(keeper))
        kill(pid for pid in descendants(os.getpid()) if pid not in kept)

    def run(self):
        pending = b""
        while not self.quitting:
            readable, _, _ = select.select([0, self.child_ended], [], [], 1.0)
            drain(self.child_ended)
            self.reap()
            if 0 in readable:
                received = os.read(0, 1 << 16)
                if not received:
                    break
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self.obey(line)
        for control in self.controls.values():
            os.close(control)
        self.controls = {}
        while self.keepers:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            self.keepers.pop(pid, None)
        # What keepers left that were killed themselves.
        kill_all_below()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        Supervisor().run()
    except BrokenPipeError:
        sys.exit(1)
