"""Programs that try to get out of a sandbox, one for each protection; `GOT` says that one did.

They are started with Python, and told their targets in the environment.
"""

from __future__ import annotations

GOT = "GOT"

_BEGIN = """
import ctypes, errno, os, signal, socket, sys, time
target = os.environ.get("TARGET", "")
libc = ctypes.CDLL(None, use_errno=True)
def got(*words):
    print("GOT", *words, flush=True)
"""

READ = """
print(open(target).read())
got()
"""

READ_BY_LINK = """
os.symlink(target, "link")
print(open("link").read())
got()
"""

WRITE = """
with open(target, "a") as file:
    file.write("was here")
got()
"""

CUT_SHORT = """
os.truncate(target, 0)
got()
"""

ENVIRONMENT = """
if b"ORCHESTRATE_ESCAPE" in open(f"/proc/{target}/environ", "rb").read():
    got()
"""

MEMORY_OF_ANOTHER = """
open(f"/proc/{target}/mem", "rb").close()
got()
"""

SEE = """
for name in os.listdir("/proc"):
    if name.isdigit():
        try:
            line = open(f"/proc/{name}/cmdline").read()
        except OSError:
            continue
        if target.replace(" ", chr(0)) in line and line.startswith("sleep"):
            got()
"""

END = """
os.kill(int(target), signal.SIGKILL)
got()
"""

TRACE = """
if libc.ptrace(16, int(target), None, None) == 0:  # PTRACE_ATTACH
    libc.ptrace(17, int(target), None, None)
    got()
"""

CONNECT = """
socket.create_connection(("127.0.0.1", int(target)), 3)
got()
"""

DATAGRAM = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    sending.settimeout(2)
    sending.sendto(b"hello", ("127.0.0.1", int(target)))
    got(sending.recv(10))
"""

MPTCP = """
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as connecting:
    connecting.connect(("127.0.0.1", int(target)))
    got()
"""

FAST_OPEN = """
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connecting:
    connecting.sendto(b"hello", 0x20000000, ("127.0.0.1", int(target)))
    got()
"""

# The address is asked for as metadata services are; this one is never let through in a test.
METADATA = """
socket.create_connection(("169.254.169.254", 80), 2)
got()
"""

UNIX = """
name = "\\0" + target[1:] if target.startswith("@") else target
with socket.socket(socket.AF_UNIX) as connecting:
    connecting.connect(name)
    got()
"""

SHARED_MEMORY = """
if libc.shmget(int(target), 0, 0) >= 0:
    got()
"""

RIGHTS = """
lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
if int(lines["CapBnd"], 16) or int(lines["CapEff"], 16) or lines["NoNewPrivs"].strip() == "0":
    got(lines["CapBnd"], lines["CapEff"])
"""

NAMESPACES = """
if libc.unshare(0x10000000) == 0:  # CLONE_NEWUSER
    got()
"""

# Arguments that do nothing where a call is let through.
CALLS = """
calls = {"keyctl": (250, 0, -4, 0), "bpf": (321, 0, 0, 0), "io_uring_setup": (425, 0, 0),
         "userfaultfd": (323, 1), "open_tree": (428, -1, None, 0), "add_key": (248, 0, 0, 0, 0, -4)}
for name, (number, *arguments) in calls.items():
    result = libc.syscall(number, *arguments)
    if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        got(name)
"""

MEMORY = """
held = [bytearray(b"x" * 2**20) for _ in range(300)]
got(len(held))
"""

PROCESSES = """
for _ in range(150):
    if os.fork() == 0:
        time.sleep(60)
time.sleep(1.5)
got()
"""

PROCESSOR = """
end = time.monotonic() + 3
while time.monotonic() < end:
    pass
if sum(os.times()[:2]) > 0.4:
    got()
"""

SCRATCH = """
with open("/dev/shm/large", "wb") as file:
    for _ in range(80):
        file.write(bytes(2**20))
got()
"""

LARGE_FILE = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open("large", "wb") as file:
    file.truncate(2 * 1024**3 + 1)
got()
"""

FLOOD = """
print("x" * 200_000)
got()
"""

# It closes what it was given, and hides from who looks for its variables or its session.
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        os.execve("/bin/sleep", target.split(), {})
    os._exit(0)
time.sleep(0.5)
"""


def program(body: str) -> tuple[str, ...]:
    """The command line of one."""
    return ("python3", "-c", _BEGIN + body)
