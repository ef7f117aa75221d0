/* SPDX-License-Identifier: Apache-2.0 */
/* repo/backup.h: a backup being written, for the files of repo/ only.
 *
 * backup.c is what the caller sees; backup-work.c the buffers, the queue and
 * the workers.
 */
#pragma once
#include <pthread.h>

#include "base/effect.h"
#include "base/mutex.h"
#include "repo/builder.h"
#include "repo/dedup.h"
#include "repo/dedupindex.h"
#include "repo/packer.h"
#include "repo/renew.h"
#include "repo/resume.h"
#include "repo/segment-writer.h"
#include "repo/view.h"

#define BACKUP_DATA_PACK    ((size_t)64 << 20)
#define BACKUP_META_PACK    ((size_t)8 << 20)
#define BACKUP_BUFFER_BYTES ((size_t)24 << 20)
#define BACKUP_OPEN_LEAVES  4
#define BACKUP_WORKERS_MAX  16
#define BACKUP_LOG2_MIN     16
#define BACKUP_LOG2_MAX     22

extern struct role backup_lock;

/* A leaf while its chunks are worked on. Entries begin as the parent has
 * them; a worker sets only the entry of its chunk. */
struct backup_leaf {
    struct backup_leaf *next; /* [T:caller] in order */
    uint64_t idx;             /* [C] */
    struct tree_node node;    /* an entry: its worker's, then the caller's */
    unsigned pending GUARDED_BY(backup_lock);
    bool is_dirty GUARDED_BY(backup_lock);
};

struct backup_job {
    struct backup_leaf *leaf;
    unsigned slot;
    unsigned log2; /* of the buffer */
    uint8_t *buffer;
    uint32_t len;
    bool is_whole; /* fills its chunk: may be a pattern */
};

struct backup_batch {
    struct backup_batch *next;
    unsigned count;
    struct backup_job jobs[HASH_LANES];
};

/* [T:caller] */
struct backup_disk {
    struct root_disk out;
    bool has_parent;
    unsigned parent_disk;
    uint64_t parent_size;
    uint64_t cursor; /* writes may begin here */
    struct builder *builder;
    struct backup_leaf *leaves; /* oldest first */
    struct backup_leaf *last;
    unsigned leaf_count;
};

struct repo_backup {
    struct repo *repo;             /* [C] */
    uint8_t id[16];                /* [C] also the session */
    char id_text[REPO_ID_SIZE];    /* [C] */
    int64_t created_unix_s;        /* [C] */
    struct repo_view *parent;      /* [C] or NULL */
    struct packset *parent_packs;  /* [C] of each disk of the parent, or NULL */
    struct packset fresh;          /* [T:caller] packs of others, named anew */
    struct resume *resume;         /* [C] or NULL */
    struct dedupindex *index;      /* [C] chunks of committed backups */
    struct segment_writer *listed; /* [C] what this one adds to the index */
    struct badset bad;             /* [C] frames not to be referred to anew */
    struct packer *data;           /* [C] */
    struct packer *meta;           /* [C] */
    struct frame_ctx *ctx;         /* [T:caller] */
    struct backup_disk *disks;     /* [T:caller] REPO_DISKS_MAX */
    unsigned disk_count;           /* [T:caller] */
    struct backup_batch *batch;    /* [T:caller] being filled, or NULL */
    uint8_t resumed[16];           /* [C] the session of `resume` */
    struct renew renew;            /* [T:caller] when to say OPEN again */
    bool is_done;                  /* [T:caller] committed, or tried */
    bool is_committed;             /* [T:caller] */
    bool is_discarded;             /* [T:caller] remove what is stored */
    int level;                     /* [C] zstd's; 0: by the packer's effort */
    char flow[EFFECT_FLOW_SIZE];   /* [C] */
    unsigned worker_count;         /* [C] */
    pthread_t workers[BACKUP_WORKERS_MAX];

    pthread_mutex_t mutex; /* what backup_lock stands for */
    pthread_cond_t work;   /* a batch, or stop */
    pthread_cond_t done;   /* a job is finished, a buffer is free */
    struct backup_batch *first GUARDED_BY(backup_lock);
    struct backup_batch *newest GUARDED_BY(backup_lock);
    bool is_stopping GUARDED_BY(backup_lock);
    bool has_failed GUARDED_BY(backup_lock);
    struct err err GUARDED_BY(backup_lock);
    size_t buffer_bytes GUARDED_BY(backup_lock); /* all, also the free ones */
    /* Free buffers by size; each begins with a pointer to the next. */
    uint8_t *free_buffers[BACKUP_LOG2_MAX - BACKUP_LOG2_MIN + 1] GUARDED_BY(
        backup_lock);
    struct dedup *dedup GUARDED_BY(backup_lock);
    struct repo_progress progress GUARDED_BY(backup_lock);
};

void backup_work_start(struct repo_backup *b);
/* Drop what is queued, end the workers, free the buffers. */
void backup_work_stop(struct repo_backup *b);

/* The first error of a worker, if there was one. */
int backup_work_check(struct repo_backup *b, struct err *err) NODISCARD;

/* A buffer of 1 << log2 bytes.  blocks until one is free */
int backup_work_buffer(struct repo_backup *b, unsigned log2, uint8_t **ret,
                       struct err *err) NODISCARD;
void backup_work_buffer_put(struct repo_backup *b, unsigned log2,
                            uint8_t *buffer);

/* Hand in a chunk; takes the buffer. Batches go to the workers. */
void backup_work_submit(struct repo_backup *b, const struct backup_job *job);
void backup_work_flush(struct repo_backup *b); /* the batch, as it is */
/* Until no chunk of the leaf is in work. *ret_dirty: it differs. */
int backup_work_wait(struct repo_backup *b, struct backup_leaf *leaf,
                     bool *ret_dirty, struct err *err) NODISCARD;
void backup_work_mark_dirty(struct repo_backup *b, struct backup_leaf *leaf);
void backup_work_note_zero(struct repo_backup *b, uint64_t bytes);
