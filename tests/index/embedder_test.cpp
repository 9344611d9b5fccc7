#include "index/embedder.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "index/lexical_idf.h"
#include "index/lexical_words.h"
#include "index/metric.h"

namespace jade {
namespace {

std::vector<float> embed(const std::string& text, uint32_t dimension = 384) {
  auto embedder = find_embedder("lexical", dimension);
  REQUIRE(embedder);
  std::vector<float> vector(dimension, NAN);
  Status status = embedder->embed(text, vector.data());
  REQUIRE_MESSAGE(status.ok(), status.to_string());
  return vector;
}

double cosine(const std::string& a, const std::string& b, uint32_t dimension = 384) {
  std::vector<float> x = embed(a, dimension);
  std::vector<float> y = embed(b, dimension);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * y[i];
  return sum;
}

uint64_t fingerprint(const std::vector<float>& vector) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (float value : vector) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    hash = (hash ^ bits) * 0x100000001B3u;
  }
  return hash;
}

}  // namespace

TEST_CASE("only embedders that exist, of dimensions that make sense, are found") {
  CHECK(find_embedder("lexical", 64));
  CHECK(find_embedder("lexical", dimension_max));
  CHECK(find_embedder("lexical", 384)->dimension() == 384);
  CHECK(find_embedder("lexical", 384)->name() == "lexical");
  CHECK_FALSE(find_embedder("lexical", 63));
  CHECK_FALSE(find_embedder("lexical", 0));
  CHECK_FALSE(find_embedder("lexical", dimension_max + 1));
  CHECK_FALSE(find_embedder("bert", 384));
  CHECK(check_embedder("bert", 384).message() ==
        "there is no embedder \"bert\"; there is \"lexical\"");
  CHECK(check_embedder("lexical", 12).message() ==
        "embedder \"lexical\" makes vectors of dimension 64 to 16384, not 12");
}

TEST_CASE("related texts score above unrelated ones") {
  const std::string query = "convert video files";
  double related = cosine(query, "ffmpeg: converting audio and video, many file formats");
  CHECK(related > 0.3);
  CHECK(related > 0.2 + cosine(query, "a chess engine for the X window system"));
  CHECK(related > cosine(query, "text editor with syntax highlighting for many file formats"));
}

TEST_CASE("inflected forms are nearly the same text") {
  CHECK(cosine("converting videos", "converted video") > 0.7);
  CHECK(cosine("photo libraries", "photo library") > 0.7);
}

TEST_CASE("a misspelt word is still nearer than another word") {
  CHECK(cosine("convrter", "converter", 16384) > 0.15);
  CHECK(cosine("convrter", "spreadsheet", 16384) < 0.08);
  CHECK(cosine("remove duplicate fotographs", "remove duplicate photographs") > 0.5);
}

TEST_CASE("letters' case, punctuation and order of sentences hardly matter") {
  CHECK(embed("Convert VIDEO files!") == embed("  convert, video; files "));
  CHECK(cosine("reads mail. writes news.", "writes news. reads mail.") > 0.9);
}

TEST_CASE("stop words weigh next to nothing") {
  CHECK(cosine("how do I convert the video", "convert video") > 0.8);
  CHECK(cosine("the and of", "the and of") == doctest::Approx(1.0));
}

TEST_CASE("vectors have norm 1 in every dimension") {
  for (uint32_t dimension : {64u, 65u, 384u, 1000u, 16384u}) {
    CHECK(cosine("a vector database", "a vector database", dimension) ==
          doctest::Approx(1.0).epsilon(1e-5));
  }
}

TEST_CASE("more dimensions keep unrelated texts further apart") {
  const std::vector<std::string> texts = {"chess engine",  "mail transfer agent",
                                          "solar eclipse", "weather station",
                                          "bread recipes", "tax accounting"};
  auto crosstalk = [&](uint32_t dimension) {
    double sum = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      for (size_t j = 0; j < i; ++j) sum += std::pow(cosine(texts[i], texts[j], dimension), 2);
    }
    return sum;
  };
  CHECK(crosstalk(4096) < crosstalk(64) / 4);
}

// A change of these bits makes old databases incompatible: it wants a new name.
TEST_CASE("the bits are the same on every machine and in every version") {
  CHECK(fingerprint(embed("Convert video files", 384)) == 10789252688636915422u);
  CHECK(fingerprint(embed("Größe der Datei: 日本語 текст, 42 naïve cafés", 100)) ==
        17386033836445052694u);
}

TEST_CASE("a text without a word is an error") {
  auto embedder = find_embedder("lexical", 64);
  float out[64];
  for (std::string text : {"", "   ", "\t\n", "!?-…", "\xFF\xFE", "\xC3", "。、"}) {
    CHECK(embedder->embed(text, out).code() == Code::invalid_argument);
  }
}

TEST_CASE("long and malformed texts are taken as they are") {
  CHECK(embed("vid\xFF"
              "eo") == embed("vid eo"));
  CHECK(embed(std::string("convert\0video", 13)) == embed("convert video"));
  std::string overlong =
      "\xC0\xAF"
      "word\xED\xA0\x80";  // an overlong slash, a surrogate
  CHECK(embed(overlong) == embed("word"));
  CHECK(embed(std::string(100000, 'a')).size() == 384);
  std::string repeated;
  for (int i = 0; i < 20000; ++i) repeated += "video ";
  CHECK(cosine(repeated, "video video") > 0.8);
}

TEST_CASE("words are lower-cased runs of letters and digits") {
  using Words = std::vector<std::string>;
  CHECK(lexical_words("Don't PANIC, x86_64!") == Words{"don", "t", "panic", "x86", "64"});
  CHECK(lexical_words("ÄRGER Ελλάδα ЖУК") == Words{"ärger", "ελλάδα", "жук"});
  CHECK(lexical_words("日本語。テスト") == Words{"日本語", "テスト"});
  CHECK(lexical_words(std::string(70, 'a')) ==
        Words{std::string(32, 'a'), std::string(32, 'a'), std::string(6, 'a')});
}

TEST_CASE("stems join the forms of a word") {
  for (std::string word : {"convert", "converts", "converting", "converted", "converter"}) {
    CHECK(lexical_stem(word) == "convert");
  }
  CHECK(lexical_stem("libraries") == lexical_stem("library"));
  CHECK(lexical_stem("stopping") == lexical_stem("stops"));
  CHECK(lexical_stem("compiler") == lexical_stem("compile"));
  CHECK(lexical_stem("boxes") == "box");
  for (std::string word : {"class", "virus", "gas", "sed", "os", "naïve", "x86s"}) {
    CHECK(lexical_stem(word) == word);
  }
}

TEST_CASE("frequent words tell less than rare ones") {
  CHECK(lexical_idf("the") == 0);
  CHECK(lexical_idf("library") < lexical_idf("video"));
  CHECK(lexical_idf("video") < lexical_idf("xylophone"));
  CHECK(lexical_idf("xylophone") == lexical_idf_max);
  CHECK(lexical_idf("") == lexical_idf_max);
  // First and last of the table: it is sorted as the lookup needs it.
  CHECK(lexical_idf("0") < lexical_idf_max);
  CHECK(lexical_idf("zsh") < lexical_idf_max);
}

}  // namespace jade
