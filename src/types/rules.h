/* SPDX-License-Identifier: Apache-2.0 */
/* types/rules.h: checks that several kinds share. Private to types/. */
#pragma once
#include "types/kind.h"

#define RULES_KUBEVIRT_GROUP "kubevirt.io"

/* Lists for struct kind: what users make, what libvirt makes, and what
 * `kubectl get all` lists. */
extern const char *const rules_verbs[];
extern const char *const rules_projected_verbs[];
extern const char *const rules_in_all[];

/* A VirtualMachine named by group, kind and name at `field` ("spec.source").
 * source  spec kubevirt 4.1, 4.3 */
void rules_check_vm_ref(const json_t *ref, const char *field,
                        struct causes *causes);

/* On UPDATE: the spec is what it was.
 * source  spec kubevirt 4.1 to 4.3, the newer text */
void rules_check_spec_unchanged(const struct kind_request *rq,
                                struct causes *causes);

/* The condition of a type in status.conditions, or NULL. */
const json_t *rules_condition(const json_t *object, const char *type);
bool rules_condition_is(const json_t *object, const char *type,
                        const char *status);

/* One part of the path is "." or "..". */
bool rules_has_dot_part(const char *path);

/* "1.5Gi", for a table. Caller frees. */
char *rules_size(int64_t bytes) NODISCARD;

/* A Harvester restore that goes on: not complete and not failed. */
bool rules_is_restore_active(const json_t *restore);

/* libvirt has no domain behind this virtual machine any more. */
bool rules_is_vm_undefined(const json_t *vm);

/* A name that a virtual machine and its domain can have: a DNS-1123 label.
 * source  spec kubevirt 4.3 */
bool rules_is_label(const char *name);

/* Names of objects, labels and annotations, as the store wants them.
 * source  Kubernetes "Object Names and IDs", "Labels and Selectors" */
bool rules_is_object_name(const char *name);
bool rules_is_key(const char *key);
bool rules_is_label_value(const char *value);
/* The keys of a map, but for those that `old` has too (NULL: none), and its
 * values as those of labels. */
void rules_check_keys(const json_t *map, const json_t *old, const char *field,
                      struct causes *causes);
void rules_check_labels(const json_t *map, const char *field,
                        struct causes *causes);

/* The name of the libvirt domain behind a VM or instance, quoted. */
char *rules_domain_of(const json_t *vm) NODISCARD;

/* Something else than spec.runStrategy (or running), labels, annotations,
 * finalizers and ownerReferences of a projected object was changed. */
void rules_check_projected(const struct kind_request *rq,
                           struct causes *causes);
