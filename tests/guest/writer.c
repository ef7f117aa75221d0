/* SPDX-License-Identifier: Apache-2.0 */
/* writer INTERVAL_MS ACK FILE...: the program whose data must survive.
 *
 * For every number it appends a record to the first file, fdatasync, then to
 * the second, fdatasync, then it sends the number through ACK (a virtio-serial
 * channel that the host logs). So an image of all disks at one instant shows
 * last(A) - last(B) of 0 or 1 and every number that the host had seen before;
 * after a quiesced freeze last(A) == last(B) and the last record says so.
 *
 * SIGUSR1: write a record marked RECORD_QUIESCED and stop. SIGUSR2: go on.
 * The state is a word in /run/writer.state. After a power cut it drops a torn
 * tail and lets the file that is behind catch up.
 */
#define _GNU_SOURCE
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "record.h"

enum {
    FILES_MAX = 8
};

static volatile sig_atomic_t want_stop;

static void
on_signal(int sig)
{
    want_stop = sig == SIGUSR1;
}

static void
pause_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static void
set_state(const char *word, uint64_t seq)
{
    FILE *f = fopen("/run/writer.state.new", "w");

    if (f == NULL)
        return;
    fprintf(f, "%s %llu\n", word, (unsigned long long)seq);
    fclose(f);
    rename("/run/writer.state.new", "/run/writer.state");
}

static void
append(int fd, uint64_t seq, uint32_t flags, uint32_t file)
{
    static struct record r;
    static uint64_t x = 0x9e3779b97f4a7c15u;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    r.magic = RECORD_MAGIC;
    r.seq = seq;
    r.written_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    r.flags = flags;
    r.file = file;
    x ^= seq;
    for (size_t i = 0; i < sizeof r.noise; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(r.noise + i, &x, 8);
    }
    r.crc = record_crc(&r);
    if (write(fd, &r, sizeof r) != sizeof r || fdatasync(fd) < 0) {
        fprintf(stderr, "GUEST: WRITER: %s\n", strerror(errno));
        set_state("error", seq);
        exit(1);
    }
}

/* Cut a torn tail off; returns the last good number, 0 in an empty file. */
static uint64_t
recover(int fd)
{
    static struct record r;
    off_t end = lseek(fd, 0, SEEK_END) / RECORD_SIZE * RECORD_SIZE;
    uint64_t last = 0;

    for (; end > 0; end -= RECORD_SIZE) {
        if (pread(fd, &r, sizeof r, end - RECORD_SIZE) == sizeof r &&
            record_is_good(&r)) {
            last = r.seq;
            break;
        }
    }
    if (ftruncate(fd, end) < 0 || fsync(fd) < 0)
        exit(1);
    lseek(fd, end, SEEK_SET);
    return last;
}

static uint64_t
open_files(int n, char **names, int *fds)
{
    uint64_t last[FILES_MAX], seq = 0;

    for (int i = 0; i < n; i++) {
        fds[i] = open(names[i], O_RDWR | O_CREAT, 0644);
        if (fds[i] < 0) {
            perror(names[i]);
            exit(1);
        }
        last[i] = recover(fds[i]);
        seq = last[i] > seq ? last[i] : seq;
    }
    for (int i = 0; i < n; i++)
        while (last[i] < seq)
            append(fds[i], ++last[i], RECORD_CAUGHT_UP, (uint32_t)i);
    return seq;
}

int
main(int argc, char **argv)
{
    int fds[FILES_MAX], n = argc - 3;
    uint64_t seq;

    if (n < 1 || n > FILES_MAX)
        return 2;
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    int ack = open(argv[2], O_WRONLY);
    seq = open_files(n, argv + 3, fds);
    printf("GUEST: WRITER STARTS AFTER %llu\n", (unsigned long long)seq);
    fflush(stdout);
    set_state("running", seq);
    for (;;) {
        int stop = want_stop;

        seq++;
        for (int i = 0; i < n; i++)
            append(fds[i], seq, stop ? RECORD_QUIESCED : 0, (uint32_t)i);
        if (ack >= 0)
            dprintf(ack, "%llu\n", (unsigned long long)seq);
        if (stop) {
            set_state("quiesced", seq);
            while (want_stop)
                pause_ms(2);
            set_state("running", seq);
        }
        pause_ms(atol(argv[1]));
    }
}
