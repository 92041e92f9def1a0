"""The programs that Shoal is measured against: nginx, rclone, sshfs, curl. Each cleans up after itself."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import sweep
from tests.support.patience import until

PACKAGES = {"nginx": "nginx-light", "rclone": "rclone", "curl": "curl", "sshfs": "sshfs", "sshd": "openssh-server"}
NGINX = """
daemon off;
worker_processes 2;
error_log {home}/nginx.log;
pid {home}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {home}/nginx-body;
  proxy_temp_path {home}/nginx-proxy;
  fastcgi_temp_path {home}/nginx-fastcgi;
  uwsgi_temp_path {home}/nginx-uwsgi;
  scgi_temp_path {home}/nginx-scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }}
}}
"""
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile {home}/sshd.pid
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


def missing() -> dict[str, str]:
    """The programs that are not here, each with the Debian package that has it."""
    return {name: package for name, package in PACKAGES.items() if not _which(name)}


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_port() -> int:
    """A port of loopback that nobody uses now, for programs that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _answers(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 5).close()
    return True


@contextmanager
def running(command: Sequence[str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block lasts; what it says goes to `home/NAME.log`."""
    program = _which(command[0]) or command[0]
    with open(home / f"{Path(program).name}.said", "ab") as said:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, sweep.MARK: str(home)},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def nginx(root: Path, home: Path) -> Iterator[str]:
    """The URL at which nginx serves `root`."""
    port, config = free_port(), home / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(user + NGINX.format(home=home, port=port, root=root))
    url = f"http://127.0.0.1:{port}"
    with running(["nginx", "-p", str(home), "-e", str(home / "nginx.log"), "-c", str(config)], home):
        until(lambda: _answers(port), 10, "nginx answers")
        yield url


@contextmanager
def mounted(command: Sequence[str], point: Path, home: Path) -> Iterator[Path]:
    """A foreground mount program, and the unmounting."""
    point.mkdir(parents=True)
    with running(command, home):
        try:
            until(lambda: os.path.ismount(point), 20, f"{command[0]} mounts")
            yield point
        finally:
            sweep.unmount(str(point))
    shutil.rmtree(point, ignore_errors=True)


@contextmanager
def rclone(url: str, cache: str, home: Path) -> Iterator[Path]:
    """`rclone mount` of a web server, with a fresh cache; `cache` is its --vfs-cache-mode."""
    directory = home / "rclone-cache"
    command = [
        "rclone",
        "mount",
        ":http:",
        str(home / "rclone"),
        "--config",
        "/dev/null",
        "--http-url",
        url,
        "--read-only",
    ]
    with mounted([*command, "--vfs-cache-mode", cache, "--cache-dir", str(directory)], home / "rclone", home) as point:
        yield point
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def sshfs(root: Path, home: Path) -> Iterator[Path]:
    """`sshfs` over an sshd of our own, aes128-gcm; needs root."""
    port = free_port()
    for key in ("host_key", "user_key"):
        if not (home / key).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)], check=True)
    (home / "sshd_config").write_text(SSHD.format(port=port, home=home))
    os.makedirs("/run/sshd", exist_ok=True)  # sshd refuses to start without it
    options = f"IdentityFile={home}/user_key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,port={port}"
    options += ",Ciphers=aes128-gcm@openssh.com,ro"
    with running(["sshd", "-D", "-e", "-f", str(home / "sshd_config")], home):
        until(lambda: _answers(port), 10, "sshd answers")
        source = f"{getpass.getuser()}@127.0.0.1:{root}"
        with mounted(["sshfs", "-f", source, str(home / "sshfs"), "-o", options], home / "sshfs", home) as point:
            yield point


@contextmanager
def mfusepy(root: Path, home: Path) -> Iterator[Path]:
    """The directory itself, through a mount that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.loopback", str(root)]
    with mounted([*command, str(home / "loopback")], home / "loopback", home) as point:
        yield point


def curl(url: str, file: Path) -> None:
    """`curl -o FILE URL`."""
    subprocess.run(["curl", "-sS", "--fail", "--noproxy", "*", "-o", str(file), url], check=True)
