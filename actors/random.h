// Clock and randomness of an actor, both from seams: the actor clock of its
// system and a generator seeded by its node.
#pragma once

#include <caf/all.hpp>
#include <cstdint>

namespace jade {

// Milliseconds of the actor clock: those since the machine was started in production, also while it
// was suspended; virtual in the simulator.
template <class Self>
uint64_t now_ms(const Self& self) {
  auto now = self->home_system().clock().now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

// Nanoseconds of the actor clock, for how long something takes.
template <class Self>
uint64_t now_ns(const Self& self) {
  auto now = self->home_system().clock().now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

// SplitMix64 (Steele, Lea and Flood, 2014): one step of `state`.
inline uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A seed for part `salt` of what `seed` belongs to.
inline uint64_t mix(uint64_t seed, uint64_t salt) {
  uint64_t state = seed ^ (salt * 0xd1342543de82ef95u);
  return next_random(state);
}

// Uniform in [low, high).
inline int uniform(uint64_t& state, int low, int high) {
  if (high <= low) return low;
  return low + static_cast<int>(next_random(state) % static_cast<uint64_t>(high - low));
}

}  // namespace jade
