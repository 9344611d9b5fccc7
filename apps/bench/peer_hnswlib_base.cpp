// What hnswlib defines outside its namespace gets a name of its own too.
#define hnswlib hnswlib_base
#define cpuid cpuid_base
#define xgetbv xgetbv_base
#define AVXCapable AVXCapable_base
#define AVX512Capable AVX512Capable_base
#define JADE_PEER_FACTORY make_hnswlib_base
#include "apps/bench/peer_hnswlib.inl"
