/*
 * Model of how a table's frame comes back to the pool while other cpus change tables and look pages up.
 *
 * Modelled: a root with two entries and two frames for the tables below it. CPUS cpus again and again open a phase, read
 * an entry of the root, and make a table if there is none; else they acquire the table, look whether it is still linked,
 * and write into it or, REMOVALS times in all, remove it: unlink, release, lower the own phase, fence, wait for each other
 * phase that is odd, increment the version, free the frame. A freed frame may be taken at once, by any cpu and for either
 * entry, and be linked by compare-exchange. A lookup (if LOOKUPS) loads the version, then two levels, and the version again
 * after each; it starts over if that changed, and may fall asleep for good at any step. The stores of cpus pass through
 * the store buffers of x86-TSO, which hold all that a phase leaves (DEPTH); a lookup stores nothing.
 *
 * Abstracted: acquiring a table is an exchange (bias.pml has the real protocol); a phase counter is its parity, and who
 * waits is told when it moves on; the version is that lookups find it changed since they loaded it; one lookup stands for
 * any number, as nobody can see a lookup. Release and acquire are program order, as TSO gives it: elsewhere, the stores
 * into a recycled frame must not overtake the increment of the version.
 *
 * Proved: no lookup follows an entry that it read from a frame in the pool or in another use; no cpu is inside a table of
 * which the frame was freed since it came there; nobody writes into a table that is not linked, so no update is lost; no
 * deadlock, with several removers at once and with lookups that sleep: removers wait for no lookup, so lookups cause no
 * garbage.
 *
 * run lookup: -DCPUS=2 -DLOOKUPS=1 -DREMOVALS=2 -DDEPTH=4
 * run three: -DCPUS=3 -DLOOKUPS=0 -DREMOVALS=2 -DDEPTH=3
 *
 * mutation NO_FENCE_RAISE of lookup, assertion: no fence after the phase word becomes odd
 * mutation NO_FENCE_REMOVE of lookup, assertion: no fence between unlinking and reading the phases
 * mutation NO_WAIT of lookup, assertion: the remover does not wait for the other phases
 * mutation WAIT_INSIDE of lookup, deadlock: the remover waits before it lowers its own phase
 * mutation LINK_UNCHECKED of lookup, assertion: a cpu that acquired a table does not look whether it is linked
 * mutation VERSION_AFTER_FREE of lookup, assertion: the frame is freed before the version goes up
 * mutation LEAF_UNCHECKED of lookup, assertion: a lookup does not check the version after the last load
 * mutation CHECK_BEFORE_LOAD of lookup, assertion: a lookup checks the version before each load, not after
 * mutation READERS_AWAITED of lookup, deadlock: the remover waits for lookups
 */

#define SLOTS 2
#define FRAMES 2

/* Words in memory. */
#define PHASE(c) (c)
#define ROOT(s) (CPUS + (s))             /* the root's entries, 0 if empty */
#define HELD(f) (CPUS + SLOTS + (f))     /* a cpu has acquired the table */
#define CONTENT(f) (HELD(FRAMES) + (f))  /* an entry of the table */
#define WORDS CONTENT(FRAMES)

/* An entry names a frame and, as a ghost, which use of the frame as a table it means. So does what a table holds. */
#define entry(f, use) ((f) + 1 + (use) * 4)
#define frame_of(e) ((e) % 4 - 1)

byte memory[WORDS];
byte awaited[CPUS]; /* the cpu + 1 whose phase was odd, or moved_on */
#define moved_on 9
byte valid[FRAMES]; /* ghost: the entry that may lead to the frame; 0 while it is in the pool */
byte uses = FRAMES; /* ghost: how often frames were taken */
byte removals;
bit changed;           /* the version has gone up since the lookup loaded it */
#ifdef READERS_AWAITED
bit inside;
#endif

/* x86-TSO: a FIFO of stores per cpu, which its own loads look through, newest first. */
typedef fifo {
  byte n;
  byte to[DEPTH];
  byte value[DEPTH]
}
fifo stores[CPUS];
#define in_order (stores[me].n == 0)
#ifdef NO_FENCE_REMOVE
#define fenced true
#else
#define fenced in_order
#endif

inline store(a, v) {
  d_step {
    stores[me].n < DEPTH ->
    stores[me].to[stores[me].n] = a;
    stores[me].value[stores[me].n] = v;
    stores[me].n++
  }
}
inline load(x, a) {
  d_step {
    x = memory[a];
    i = 0;
    do
    :: i < stores[me].n ->
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
/* The oldest store of a cpu reaches memory. */
inline drain_one(c) {
  d_step {
    stores[c].n > 0 ->
    if
    :: stores[c].to[0] == PHASE(c) -> /* a counter moves on: whoever waits sees that, at once or later */
       k = 0;
       do
       :: k < CPUS ->
          if
          :: awaited[k] == c + 1 -> awaited[k] = moved_on
          :: else
          fi;
          k++
       :: else -> break
       od
    :: else
    fi;
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
  :: drain_one(1)
#if CPUS > 2
  :: drain_one(2)
#endif
  od
}

/* The version goes up by an atomic increment: whoever has loaded it before will find that it changed. */
inline increment_version() { atomic { in_order -> changed = 1 } }

proctype cpu(byte me) {
  byte i, x, s, e, d;
idle:
  if
  :: goto done
  :: s = 0
  :: s = 1
  fi;
raise:
#ifdef NO_FENCE_RAISE
  store(PHASE(me), 1);
#else
  atomic { in_order -> memory[PHASE(me)] = 1 };
#endif
  atomic {
    load(e, ROOT(s));
    if
    :: e == 0 -> goto make
    :: else
    fi
  }
  /* Inside the table, not having acquired it. */
  atomic {
    in_order;
    assert(valid[frame_of(e)] == e);
    if
    :: memory[HELD(frame_of(e))] == 0 -> memory[HELD(frame_of(e))] = 1
    :: else -> store(PHASE(me), 0); goto contended
    fi
  }
#ifndef LINK_UNCHECKED
  atomic { /* it may have been unlinked meanwhile */
    load(x, ROOT(s));
    if
    :: x != e -> x = 0; goto leave
    :: else -> x = 0
    fi
  }
#endif
  atomic {
    assert(valid[frame_of(e)] == e);
    assert(memory[ROOT(s)] == e); /* what is written now is not lost */
    if
    :: goto leave
    :: removals < REMOVALS -> removals++; store(ROOT(s), 0)
    fi;
    store(HELD(frame_of(e)), 0);
#ifndef WAIT_INSIDE
    store(PHASE(me), 0)
#endif
  }
#ifndef NO_WAIT
  do
  :: d == me -> d++
  :: atomic {
       d < CPUS && d != me && fenced ->
       if
       :: memory[PHASE(d)] == 1 -> awaited[me] = d + 1
       :: else -> awaited[me] = moved_on
       fi;
       awaited[me] == moved_on;
       awaited[me] = 0;
       d++
     }
  :: d == CPUS -> d = 0; break
  od;
#endif
#ifdef READERS_AWAITED
  inside == 0;
#endif
#ifndef VERSION_AFTER_FREE
  increment_version();
#endif
  atomic { valid[frame_of(e)] = 0; memory[CONTENT(frame_of(e))] = 0; e = 0; s = 0 }
#ifdef VERSION_AFTER_FREE
  increment_version();
#endif
#ifdef WAIT_INSIDE
  store(PHASE(me), 0);
#endif
  goto idle;
make:
  atomic {
    if
    :: valid[0] == 0 -> e = entry(0, uses)
    :: valid[0] != 0 && valid[1] == 0 -> e = entry(1, uses)
    :: else -> goto lower
    fi;
    uses++;
    valid[frame_of(e)] = e;
    store(CONTENT(frame_of(e)), e)
  }
  atomic {
    in_order; /* a compare-exchange */
    if
    :: memory[ROOT(s)] == 0 -> memory[ROOT(s)] = e
    :: else -> memory[CONTENT(frame_of(e))] = 0; valid[frame_of(e)] = 0 /* nobody has seen it */
    fi;
    goto lower
  }
leave:
  store(HELD(frame_of(e)), 0);
lower:
  atomic { store(PHASE(me), 0); e = 0; s = 0; goto idle }
contended:
  atomic { memory[HELD(frame_of(e))] == 0 -> e = 0; goto raise }
done:
  s = 0
}

/* Finds the leaf behind slot 0; stores nothing. It may fall asleep at any time and never wake up. */
#define start_over_if_changed() \
  if \
  :: changed -> goto again \
  :: !changed \
  :: goto asleep \
  fi
proctype lookup() {
  byte e;
  bit recycled;
again:
  atomic { /* loads the version */
    changed = 0;
    e = 0;
    recycled = 0
#ifdef READERS_AWAITED
    ; inside = 1
#endif
  }
#ifdef CHECK_BEFORE_LOAD
  start_over_if_changed();
#endif
  e = memory[ROOT(0)];
#ifndef CHECK_BEFORE_LOAD
  start_over_if_changed();
#endif
  if
  :: e == 0 -> goto found
  :: e != 0
  fi;
#ifdef CHECK_BEFORE_LOAD
  start_over_if_changed();
#endif
  recycled = (memory[CONTENT(frame_of(e))] != e);
#if !defined(LEAF_UNCHECKED) && !defined(CHECK_BEFORE_LOAD)
  start_over_if_changed();
#endif
found:
  assert(!recycled); /* follows what it has read */
#ifdef READERS_AWAITED
  inside = 0;
#endif
asleep:
  atomic { e = 0; recycled = 0 }
}

init {
  atomic {
    memory[ROOT(0)] = entry(0, 0);
    memory[CONTENT(0)] = entry(0, 0);
    valid[0] = entry(0, 0);
    memory[ROOT(1)] = entry(1, 1);
    memory[CONTENT(1)] = entry(1, 1);
    valid[1] = entry(1, 1);
    run cpu(0);
    run cpu(1);
#if CPUS > 2
    run cpu(2);
#endif
#if LOOKUPS
    run lookup()
#endif
  }
}
