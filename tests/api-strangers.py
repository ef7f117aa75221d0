#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What those can do who reach the TLS port and have no token: tests/api-hostile.sh.

    api-strangers.py PORT SOCKET CONNECTIONS

Each answer is the one that is due, before any body was sent; CONNECTIONS slow requests at once leave the UNIX socket usable,
and TLS to those who have a token; strangers beyond 256 end the oldest of them.
"""
import json
import socket
import ssl
import sys
import time

PATH = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots"
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def connect(port, patience=60):
    plain = socket.create_connection(("127.0.0.1", port), timeout=patience)
    return context.wrap_socket(plain)


def status_of(sock, text):
    sock.sendall(text.encode())
    answer = b""
    try:
        while b"\r\n" not in answer:
            part = sock.recv(65536)
            if not part:
                break
            answer += part
    except TimeoutError:
        return "none"
    return answer[9:12].decode("latin1")


def token_of(path_of_socket):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path_of_socket)
        sock.sendall(b"POST /vmkeep/v1/kubeconfig HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["users"][0]["user"]["token"]


def is_ended(sock):
    sock.settimeout(60)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def whole_answer(sock, text):
    """The status; of the answer nothing is left to be read."""
    sock.sendall(text.encode())
    with sock.makefile("rb") as answer:
        status = answer.readline()[9:12].decode("latin1")
        headers = [line.lower() for line in iter(answer.readline, b"\r\n") if line]
        answer.read(int(next(h.split(b":")[1] for h in headers if h.startswith(b"content-length:"))))
    return status


def main():
    port, path_of_socket, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    bad = 0
    for what, headers in [("a body that is announced", "Content-Length: 3000000\r\n"),
                          ("one of unknown length", "Transfer-Encoding: chunked\r\n"),
                          ("one with a wrong token", "Authorization: Bearer vmk_" + "0" * 64 + "\r\nContent-Length: 9\r\n")]:
        with connect(port) as sock:
            status = status_of(sock, f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
        if status != "401":
            bad += 1
            print(f"{what}: {status}, wanted 401 before the body is sent")
    slow = []
    for _ in range(count):
        try:
            sock = connect(port, 10)
            sock.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            slow.append(sock)
        except OSError:
            break  # the limit of the listener
    time.sleep(1 if count else 0)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path_of_socket)
        status = status_of(sock, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n")
    if status != "200":
        bad += 1
        print(f"beside {len(slow)} slow strangers the UNIX socket answers {status}")
    if len(slow) > 260 and not is_ended(slow[0]):
        bad += 1
        print(f"the oldest of {len(slow)} strangers is still there")
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_of(path_of_socket)}\r\n\r\n"
    with connect(port) as sock:
        # It stays, whoever else comes.
        status = whole_answer(sock, request)
        more = [connect(port) for _ in range(count)]
        if status == "200":
            status = whole_answer(sock, request)
    if status != "200":
        bad += 1
        print(f"beside {len(slow)} and {len(more)} strangers somebody with a token gets {status}")
    sys.exit(bad > 0)


main()
