/*
 * Model of flushes that reach other cpus: a generation per space, requests to cpus in guest mode, a check at VM entry.
 *
 * Modelled: CPUS cpus. Each enters the guest, uses one translation again and again, serves requests between two uses,
 * exits, or never exits again. The first FLUSHERS cpus change the translation FLUSHES times in all and flush: increment the
 * generation, post a request to each other cpu that may hold translations and is in guest mode, invalidate at home, wait
 * until each of those has caught up or left; from host mode and, with GUEST_FLUSHERS, from guest mode too, serving requests
 * meanwhile. The entry stores `holds` and mode, fence, and compares generations. CROSSED, two cpus run in two spaces and
 * each flushes the space of the other. With ONE_ENTRY, guests enter once and do not stay forever. Stores pass through the
 * store buffers of x86-TSO of DEPTH entries; DEPTH 0 is without.
 *
 * Abstracted: one translation a space, as the number of its change; the table is stored directly, before the generation.
 * Hardware fills the cache of a cpu in guest mode at any time: here at once when it is empty, as an older translation is
 * the worse one. An invalidation drops everything.
 *
 * Proved: when a flush has returned, no guest uses a translation older than the change; no deadlock: no request is
 * lost, and cpus that flush at once do not wait for each other forever.
 *
 * run pair: -DCPUS=2 -DFLUSHERS=2 -DGUEST_FLUSHERS=1 -DFLUSHES=2 -DDEPTH=3
 * run crossed: -DCPUS=2 -DFLUSHERS=2 -DGUEST_FLUSHERS=1 -DFLUSHES=2 -DDEPTH=3 -DCROSSED
 * run three: -DCPUS=3 -DFLUSHERS=2 -DGUEST_FLUSHERS=0 -DFLUSHES=2 -DDEPTH=2
 * run four: -DCPUS=4 -DFLUSHERS=2 -DGUEST_FLUSHERS=0 -DFLUSHES=2 -DDEPTH=0 -DONE_ENTRY
 *
 * mutation NO_FENCE_ENTRY of pair, assertion: no fence between the store of the mode and the load of the generation
 * mutation NO_CHECK_AT_ENTRY of pair, assertion: an entry does not compare generations
 * mutation HOLDS_AFTER_MODE of pair, assertion: the entry says that it may hold translations after it looked
 * mutation INCREMENT_BY_STORE of pair, assertion: the generation goes up by a load and a store, without a fence
 * mutation POST_BEFORE_INCREMENT of pair, deadlock: the modes are read before the generation goes up
 * mutation ACKNOWLEDGEMENT_IGNORED of pair, assertion: the flush does not wait
 * mutation INVALIDATE_FIRST of pair, assertion: a cpu reads the generation after it has invalidated
 * mutation CLEAR_LAST of pair, deadlock: a request is cleared after it was served
 * mutation CLEAR_BY_STORE of pair, deadlock: a request is cleared by a store that is no fence
 * mutation NOT_SERVED_WHILE_WAITING of crossed, deadlock: a cpu that waits does not serve requests to itself
 */

/* The space that the guest of a cpu runs in, and the one that the cpu changes. */
#ifdef CROSSED
#define home(c) (c)
#define target(c) (1 - (c))
#define SPACES 2
#else
#define home(c) 0
#define target(c) 0
#define SPACES 1
#endif

/* Words in memory. */
#define GENERATION(s) (s)
#define MODE(c) (SPACES + (c) * 4)
#define HOLDS(c) (SPACES + 1 + (c) * 4)
#define REQUEST(c) (SPACES + 2 + (c) * 4)
#define CAUGHT_UP(c) (SPACES + 3 + (c) * 4)
#define WORDS (SPACES + 4 * CPUS)
#define host 0
#define guest 1

byte memory[WORDS];
byte table[SPACES] = 1; /* the entry: its changes, counted */
byte cache[CPUS];   /* the translation that the cpu has cached, 0 for none */
/* Ghost: oldest translation that may still be used. */
byte oldest[SPACES];

#if DEPTH == 0
#define in_order true
inline store(a, v) { memory[a] = v }
inline load(x, a) { x = memory[a] }
#else
/* x86-TSO: a FIFO of stores per cpu, which its own loads look through, newest first. */
typedef fifo {
  byte n;
  byte to[DEPTH];
  byte value[DEPTH]
}
fifo stores[CPUS];
#define in_order (stores[me].n == 0)

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
#if CPUS > 3
  :: drain_one(3)
#endif
  od
}
#endif
/* Hardware fills the cache of a guest again when it likes: at once, as an older translation is the worse one. */
#define invalidate() cache[me] = (in_guest -> table[home(me)] : 0)

/* Drops what is cached, then says so. The generation is read first: hardware may fill the cache at any time. */
inline catch_up() {
#ifdef INVALIDATE_FIRST
  invalidate();
#endif
  load(g, GENERATION(home(me)));
  atomic {
#ifndef INVALIDATE_FIRST
    invalidate();
#endif
    store(CAUGHT_UP(me), g);
    g = 0
  }
}
/* Serves a request. It is taken before the generation is read, so a later one is not lost. */
inline serve() {
#if defined(CLEAR_LAST)
  catch_up();
  atomic { in_order -> memory[REQUEST(me)] = 0 }
#elif defined(CLEAR_BY_STORE)
  store(REQUEST(me), 0);
  catch_up()
#else
  atomic { in_order -> memory[REQUEST(me)] = 0 } /* an exchange */
  catch_up()
#endif
}
#define requested (memory[REQUEST(me)] == 1)

/* One access of the guest: what is cached, or what the table says. */
#ifdef ONE_ENTRY
#define after_exit stop
#else
#define after_exit in_host
#endif
#define use() assert(cache[me] >= oldest[home(me)])

inline skip_to_posted() {
  do
  :: d < CPUS && !posted[d] -> d++
  :: else -> break
  od
}
inline post() {
  do
  :: atomic {
       d < CPUS ->
       if
       :: d != me && home(d) == target(me) && memory[HOLDS(d)] == 1 && memory[MODE(d)] == guest ->
          store(REQUEST(d), 1);
          posted[d] = 1
       :: else
       fi;
       d++;
       if
       :: d == me -> d++
       :: else
       fi
     }
  :: atomic { d >= CPUS -> d = 0; break }
  od
}
inline increment() {
#ifdef INCREMENT_BY_STORE
  atomic {
    load(mine, GENERATION(target(me)));
    mine++;
    store(GENERATION(target(me)), mine)
  }
#else
  atomic { in_order -> memory[GENERATION(target(me))]++; mine = memory[GENERATION(target(me))] }
#endif
}

proctype cpu(byte me) {
  byte i, x, d, g, seen;
  byte mine; /* generation of the flush */
  bit in_guest;
  bit posted[CPUS];
in_host:
  if
  :: goto stop
  :: me < FLUSHERS && table[target(me)] <= FLUSHES -> goto flush
  :: me >= FLUSHERS || GUEST_FLUSHERS
  fi;
  /* Entry. Nobody can tell its first two stores apart from one. */
#ifdef NO_FENCE_ENTRY
  store(HOLDS(me), 1);
  store(MODE(me), guest);
#else
  atomic {
    in_order ->
#ifndef HOLDS_AFTER_MODE
    memory[HOLDS(me)] = 1;
#endif
    memory[MODE(me)] = guest
  }
#endif
  atomic {
    skip;
#ifndef NO_CHECK_AT_ENTRY
    load(g, GENERATION(home(me)));
    load(x, CAUGHT_UP(me));
    if
    :: g != x -> invalidate(); store(CAUGHT_UP(me), g)
    :: else
    fi;
    g = 0;
    x = 0;
#endif
#ifdef HOLDS_AFTER_MODE
    store(HOLDS(me), 1)
#endif
  }
  atomic { in_guest = 1; cache[me] = (cache[me] == 0 -> table[home(me)] : cache[me]) }
guest_runs:
  do
  :: requested -> serve()
  :: use()
#ifndef ONE_ENTRY
  :: goto stays
#endif
  :: atomic { in_guest = 0; store(MODE(me), host); goto after_exit }
  :: atomic { me < FLUSHERS && table[target(me)] <= FLUSHES -> goto flush }
  od;
#ifndef ONE_ENTRY
stays: /* a guest that never exits of itself */
end_stays:
  do
  :: requested -> serve(); use()
  od;
#endif
flush:
  atomic {
    if
    :: table[target(me)] > FLUSHES -> goto flushed
    :: else
    fi;
    table[target(me)]++;
    seen = table[target(me)]
  }
#ifdef POST_BEFORE_INCREMENT
  post();
  increment();
#else
  increment();
  post();
#endif
  atomic { /* its own, while the others are at it */
    if
    :: target(me) == home(me) ->
       invalidate();
       store(CAUGHT_UP(me), mine);
       if
       :: !in_guest -> store(HOLDS(me), 0)
       :: else
       fi
    :: else
    fi;
    skip_to_posted()
  }
  do
#ifdef ACKNOWLEDGEMENT_IGNORED
  :: atomic { d < CPUS -> posted[d] = 0; skip_to_posted() }
#else
  :: atomic {
       d < CPUS && (memory[MODE(d)] == host || memory[CAUGHT_UP(d)] >= mine) ->
       posted[d] = 0;
       skip_to_posted()
     }
#endif
#ifndef NOT_SERVED_WHILE_WAITING
  :: d < CPUS && requested -> serve()
#endif
  :: atomic {
       d == CPUS ->
       d = 0;
       mine = 0;
       oldest[target(me)] = (seen > oldest[target(me)] -> seen : oldest[target(me)]);
       seen = 0;
       break
     }
  od;
flushed:
  if
  :: in_guest -> goto guest_runs
  :: else -> goto in_host
  fi;
stop:
}

init {
  atomic {
    run cpu(0);
    run cpu(1);
#if CPUS > 2
    run cpu(2);
#endif
#if CPUS > 3
    run cpu(3)
#endif
  }
}
