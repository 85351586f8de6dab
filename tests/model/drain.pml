/*
 * Model of the batch queue of one (cpu, space): an owner that appends and grows without lock or fence, and drains by any
 * cpu.
 *
 * Modelled: SECTIONS sections of one owner each, and DRAINERS remote cpus that drain all of them ROUNDS times. A section has
 * a ring of SLOTS slots, `tail`, `used` (claims on table frames), `taken` (one word: head, and pages consumed of the slot at
 * head) and the drain lock. An owner issues UPDATES pages in any mix of appends, grows and leaves, and drains itself when
 * the ring is full. The stores of owners pass through the store buffers of x86-TSO (DEPTH entries; 0 is without); remote
 * cpus need none, as they store under the lock and execute a locked instruction before they load anything else.
 *
 * Abstracted: a slot is one word (first page, pages), pages are numbered in the program order of their owner, and a
 * commit, its flush included, is a step that counts them. A page needs one claim; the standing claim of a drain is left
 * out. Release and acquire are program order, as TSO gives it.
 *
 * Proved: pages are committed exactly once and in the program order of their owner; when a drain returns, all pages are
 * committed that were in memory when it took the lock, so all whose append or grow happened before it was called; no slot
 * is written before its pages are committed; the pages that a drain sees have claims in `used`; no deadlock; after a leave
 * all pages of the owner are committed. The owner's append needs no fence and no locked instruction.
 *
 * run two_sections: -DSECTIONS=2 -DUPDATES=2 -DROUNDS=1 -DDEPTH=1
 * run growing: -DSECTIONS=1 -DUPDATES=5 -DROUNDS=2 -DDEPTH=4
 *
 * mutation TAIL_BEFORE_SLOT of growing, assertion: the slot is published before it is written
 * mutation CONSUMED_FORGOTTEN of growing, assertion: a remote drain does not store what it consumed of the newest slot
 * mutation NEWEST_REMOVED of growing, assertion: a remote drain takes the newest slot out of the ring
 * mutation TAKEN_BEFORE_SLOTS of growing, assertion: a drain frees the slots before it has read them
 * mutation UNLOCK_BEFORE_TAKEN of growing, assertion: the drain lock is released before `taken` is stored
 * mutation LOCK_BY_STORE of growing, assertion: the drain lock is taken by a load and a store, not by an exchange
 * mutation ROOM_UNCHECKED of growing, assertion: the owner appends to a full ring
 * mutation USED_AFTER_PUBLISH of growing, assertion: claims are counted after the update is published
 */
#define DRAINERS 2
#define SLOTS 2

/* Words of section s. `taken` and slots hold two numbers: high * 8 + low. */
#define WORDS (4 + SLOTS)
#define LOCK(s) ((s) * WORDS)
#define TAIL(s) ((s) * WORDS + 1)
#define USED(s) ((s) * WORDS + 2)
#define TAKEN(s) ((s) * WORDS + 3)
#define SLOT(s, i) ((s) * WORDS + 4 + (i) % SLOTS)
#define pair(high, low) ((high) * 8 + (low))
#define high_of(w) ((w) / 8)
#define low_of(w) ((w) % 8)

byte memory[SECTIONS * WORDS];
byte committed[SECTIONS]; /* ghost: pages of the section, in program order */

#if DEPTH == 0
#define in_order true
inline store(a, v) { memory[a] = v }
inline load(x, a) { x = memory[a] }
#else
/*
 * x86-TSO: a FIFO of stores, which the cpu's own loads look through, newest first. Only owners have one: remote cpus
 * store under the drain lock and execute a locked instruction before they load anything else.
 */
typedef fifo {
  byte n;
  byte to[DEPTH];
  byte value[DEPTH]
}
fifo stores[SECTIONS];
#define in_order (me >= SECTIONS || stores[me].n == 0)

inline store(a, v) {
  d_step {
    me >= SECTIONS || stores[me].n < DEPTH ->
    if
    :: me >= SECTIONS -> memory[a] = v
    :: else ->
       stores[me].to[stores[me].n] = a;
       stores[me].value[stores[me].n] = v;
       stores[me].n++
    fi
  }
}
inline load(x, a) {
  d_step {
    x = memory[a];
    i = 0;
    do
    :: me < SECTIONS && i < stores[me].n ->
       if
       :: stores[me].to[i] == a -> x = stores[me].value[i]
       :: else
       fi;
       i++
    :: else -> break
    od;
    i = 0
  }
}
/* The oldest store of an owner reaches memory. */
inline drain_one(c) {
  d_step {
    stores[c].n > 0 ->
    memory[stores[c].to[0]] = stores[c].value[0];
    k = 1;
    do
    :: k < DEPTH ->
       stores[c].to[k - 1] = stores[c].to[k];
       stores[c].value[k - 1] = stores[c].value[k];
       k++
    :: else -> break
    od;
    stores[c].to[DEPTH - 1] = 0;
    stores[c].value[DEPTH - 1] = 0;
    stores[c].n--;
    k = 0
  }
}
active proctype store_buffers() {
  byte k;
end:
  do
  :: drain_one(0)
#if SECTIONS > 1
  :: drain_one(1)
#endif
  od
}
#endif

/*
 * Commits what is pending in section s. The owner takes all; others leave the newest slot in the ring, as it may grow.
 * Steps that no other process can tell apart are joined: taking the lock with the first loads under it, the last store
 * under it with its release.
 */
inline drain(s, by_owner) {
#ifdef LOCK_BY_STORE
  memory[LOCK(s)] == 0;
#endif
  atomic {
#ifdef LOCK_BY_STORE
    store(LOCK(s), 1);
#else
    in_order && memory[LOCK(s)] == 0 -> /* a locked instruction: own stores are in memory before it */
    memory[LOCK(s)] = 1;
#endif
    d_step { /* pages that are in memory now, at the latest moment that can be meant by "when drain() is called" */
      if
      :: memory[TAIL(s)] > 0 ->
         x = memory[SLOT(s, memory[TAIL(s)] - 1)];
         visible = high_of(x) + low_of(x)
      :: else
      fi
    }
    load(x, TAKEN(s));
    head = high_of(x);
    consumed = low_of(x);
    load(end_of_ring, TAIL(s));
    x = 0
  }
#ifdef TAKEN_BEFORE_SLOTS
  if
  :: end_of_ring > head -> store(TAKEN(s), pair(end_of_ring - 1, 0))
  :: else
  fi;
#endif
  do
  :: head < end_of_ring ->
     atomic {
       load(x, SLOT(s, head));
       assert(high_of(x) + consumed == committed[s]); /* neither twice, nor left out, nor out of order */
       committed[s] = high_of(x) + low_of(x);
       if
#ifdef NEWEST_REMOVED
       :: true ->
#else
       :: by_owner || head + 1 < end_of_ring ->
#endif
          head++;
          consumed = 0
#ifndef NEWEST_REMOVED
       :: else ->
          consumed = low_of(x);
          end_of_ring = head /* the newest slot ends the loop */
#endif
       fi;
       x = 0
     }
  :: else ->
     atomic { load(x, USED(s)); assert(committed[s] <= x); x = 0; break } /* there is a claim for each page seen */
  od;
#ifdef CONSUMED_FORGOTTEN
  consumed = 0;
#endif
#ifdef UNLOCK_BEFORE_TAKEN
  store(LOCK(s), 0);
#endif
  atomic {
#ifndef TAKEN_BEFORE_SLOTS
    store(TAKEN(s), pair(head, consumed));
#endif
    assert(committed[s] >= visible);
    visible = 0;
    head = 0;
    consumed = 0;
    end_of_ring = 0;
#ifndef UNLOCK_BEFORE_TAKEN
    store(LOCK(s), 0)
#endif
  }
}

proctype owner(byte me) {
  byte i, x, head, consumed, end_of_ring, visible;
  byte tail, issued; /* slots appended, pages issued */
  byte first, pages; /* of the newest slot; no pages: it is not in the ring */
  do
  :: atomic {
       issued < UPDATES && pages > 0 -> /* grow */
       issued++;
       pages++
#ifndef USED_AFTER_PUBLISH
       ; store(USED(me), issued)
#endif
     }
     store(SLOT(me, tail - 1), pair(first, pages))
#ifdef USED_AFTER_PUBLISH
     ; store(USED(me), issued)
#endif
  :: atomic {
       issued < UPDATES -> /* append */
       load(x, TAKEN(me));
       head = high_of(x);
       x = 0
     }
#ifndef ROOM_UNCHECKED
     if
     :: tail - head == SLOTS -> drain(me, true)
     :: else -> head = 0
     fi;
#endif
     atomic {
       head = 0;
       first = issued;
       issued++;
       pages = 1
#ifndef USED_AFTER_PUBLISH
       ; store(USED(me), issued)
#endif
     }
#ifdef TAIL_BEFORE_SLOT
     store(TAIL(me), tail + 1);
#endif
     atomic {
       if /* the slot that is overwritten is committed */
       :: tail >= SLOTS ->
          load(x, SLOT(me, tail));
          assert(high_of(x) + low_of(x) <= committed[me]);
          x = 0
       :: else
       fi;
       store(SLOT(me, tail), pair(first, pages))
     }
     atomic {
#ifndef TAIL_BEFORE_SLOT
       store(TAIL(me), tail + 1);
#endif
       tail++
     }
#ifdef USED_AFTER_PUBLISH
     store(USED(me), issued)
#endif
  :: pages > 0 -> /* leave */
     drain(me, true);
     atomic {
       pages = 0;
       assert(committed[me] == issued);
       if
       :: issued == UPDATES -> first = 0; break
       :: else
       fi
     }
  od
}

proctype drainer(byte me; byte section) {
  byte i, x, head, consumed, end_of_ring, visible, round;
  do
  :: round < ROUNDS * SECTIONS ->
     drain(section, false);
     section = (section + 1) % SECTIONS;
     round++
  :: else -> break
  od
}

init {
  atomic {
    run owner(0);
#if SECTIONS > 1
    run owner(1);
#endif
    run drainer(SECTIONS, 0);
    run drainer(SECTIONS + 1, SECTIONS - 1)
  }
}
