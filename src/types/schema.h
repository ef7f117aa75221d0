/* SPDX-License-Identifier: Apache-2.0 */
/* types/schema.h: the published schemas, as text (src/types/schema/).
 *
 * Made at build time by tools/embed-schema. Private to types/.
 */
#pragma once

extern const char schema_namespace[], schema_event[], schema_node[],
    schema_storageclass[], schema_persistentvolumeclaim[],
    schema_virtualmachine[], schema_virtualmachineinstance[],
    schema_virtualmachineaction[], schema_virtualmachinesnapshot[],
    schema_virtualmachinesnapshotcontent[], schema_virtualmachinerestore[],
    schema_backuptarget[], schema_virtualmachinebackup[],
    schema_harvesterrestore[];
/* ObjectMeta: for the check only; CRDs leave metadata to the server. */
extern const char schema_common_metadata[];
