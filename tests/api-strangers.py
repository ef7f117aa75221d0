#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What those can do who reach the TLS port and have no token: tests/api-hostile.sh.

    api-strangers.py PORT SOCKET CONNECTIONS

Each answer is the one that is due, before any body was sent; CONNECTIONS slow requests at once leave the UNIX socket usable.
"""
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
    sys.exit(bad > 0)


main()
