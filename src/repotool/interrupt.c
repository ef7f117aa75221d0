/* SPDX-License-Identifier: Apache-2.0 */
#include "repotool/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_bool is_interrupted;

static void
on_signal(int number)
{
    (void)number;
    atomic_store(&is_interrupted, true);
}

void
interrupt_catch(void)
{
    struct sigaction action = { .sa_handler = on_signal,
                                .sa_flags = SA_RESETHAND | SA_RESTART };

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool
interrupt_is_set(void)
{
    return atomic_load(&is_interrupted);
}
