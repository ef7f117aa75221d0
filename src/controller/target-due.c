/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/target-due.h"

#define DAY_S 86400

int64_t
target_due_in_s(int64_t now_s, int64_t last_s, int64_t created_s,
                int64_t interval_s)
{
    int64_t from = last_s > 0 ? last_s : created_s;

    if (interval_s <= 0)
        return -1;
    if (from > now_s && from - now_s > DAY_S)
        return 0;
    return from + interval_s > now_s ? from + interval_s - now_s : 0;
}
