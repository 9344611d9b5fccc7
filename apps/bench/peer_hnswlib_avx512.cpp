// What hnswlib defines outside its namespace gets a name of its own too.
#define hnswlib hnswlib_avx512
#define cpuid cpuid_avx512
#define xgetbv xgetbv_avx512
#define AVXCapable AVXCapable_avx512
#define AVX512Capable AVX512Capable_avx512
#define JADE_PEER_FACTORY make_hnswlib_avx512
#include "apps/bench/peer_hnswlib.inl"
