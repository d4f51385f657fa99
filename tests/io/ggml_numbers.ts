/** 512 numbers of several magnitudes, a block of zeros among them: what {@linkcode GGML_BLOCKS} encode. */
export function ggmlNumbers(): Float32Array {
  let state = 1;
  const values = new Float32Array(512);
  for (let i = 0; i < values.length; i++) {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    values[i] = (state >> 8) / 2 ** 23 * 2 ** (i % 5) * (1 + (i >> 5));
  }
  return values.fill(0, 96, 128);
}

/**
 * The numbers as ggml's `quantize_row_..._ref` stores them, and the SHA-256 of the float32 that its
 * `dequantize_row_...` makes of that; by libggml-base of node-llama-cpp 3.22.1.
 */
export const GGML_BLOCKS = {
  Q8_0: {
    stored:
      "ji8EDd7YDgb44gKeBA7k6kAA+xbVgQQEBSsj+/IaJLz/BkQyG/1/9xMA7KL//w09mQMUDr3WBwH8JskBEAQ4K/wRDMAZNcL/AAIAxQkP5/uwCRAL8bT58N0If/j+Gd5T/v4hQWsAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMo4xX8IDwHV8/zw8y+f/wrxyJACAePqFgH/DytOB/gWIBusOPrz2VB/APQH6o34FOgolwcQ4Ni9APgZ5iH5AgYfrAbyATv2NdQG9ATMUggEAA7oBvPgJ3//AxLlfgj4+DmrA/MJ/9E7XgUIBh9i//gK4aH4C/IzgQQM5tVl+/Tn4sYA+v0tigTbOwcgOJH4CvwRxAL6HhW5BvfoOG/++QTSf/0HGNT6+vrcYzznf/cG7+TbCQ3tFQL7/BFInAP1F+/8+RDv8msEBd3WsCw9Bw/mCNP9+xj1PwUJ9QFD/vryzIH87xLLXPwG9MgrBvcJPuMPaP3zAP+c+QYL4JkEAvst//8MGyyBBA/qBLP+Ah0jUD6B+gn82Z4G8OIY9fsN/uOQAf4O36wABAQabwfz7wAQAAs+BuYwU/n8/9kj/v/4AtIA9BgvifsH8ecx+P4E/H8A9hsQPup/B/Tmy8kG8vre3fb35/AWBwDfQKoHAukVxv0QG0THgD748PYn+fn46r7xAvgV8XP++eoGgfnwHMbe/vj8TYT58w==",
    sha256: "8f1e4edbd29c033c6465eb8e7856e6e5109cfc9f4e7293d3de7e2fdd3ab3010f",
  },
  Q4_0: {
    stored:
      "fz+ImVYFiYiItqiCeKmmR4yIOMLGuICJh2i5jniIR1SOeHfHD8WMmKiICJyHZ6o4jYdnRxmNAICIiIiIiIiIiIiIiIiIiIiIwMj8gIinmHuJiHlZNY6Yd2lro8h4qbrDgJhpqGmPiYdq1o+Y88ppBYuIeagLg5iYSNeKmHmKwUuOmGlY6o54aGlGgoiJtxuAzMuYRhSPiYe4B4yIaLaHjIipWszqgJl4mYqKd5eZF4iIqLfTIk2IeVYJhXiYWueMiHlHuIx4/U22iY+Yp7gIgph4iTaBiKioQ06AiJloNoKIh6b6h3h5iJaB/81oWvWDiJioWpaIiIkIi5hpBM55gIipStuLiJl4yop5aUrJc06Id4cKiHioR2SHeIfZB494",
    sha256: "dcec0dc5c595609cde2ef1e297ae60dbaacd5d93e3ce11c058b051730aff8bc2",
  },
  Q5_0: {
    stored:
      "fzszzfLZ8TK8CwIBH1xA9OEyTX0IEDi+6jPbko1Q8AEesHMM4ACeuA3g7Y4PwT/HZ40YIEDwABcP3kNhCg/OjzIKAID/////AAAAAAAAAAAAAAAAAAAAAMDE8dvfEOcAD04w1QIB4rJq/BDfwtejxGdXvqbhQlWGABDSP8MfAf7Du/0v88ZV1iy7sQkFD+I/B/YfEJC+Ay/yBMFHf1ETtBwh0bHU/ODfwZwE/wFuFhDMx1inefk/nCkOEQ9gDgjw0WwdGR9BWsh1Onfr0wAR3yIEFe8uIj0A8UFepyJJq+5AZ/HinQH64C+TzwgR4Z9QGPD9SW5mv/VsAg0QPmAAAy/RAWwDAEBPQ0pEMufnAA8hz1sEAQ484x/v4gAsAv/J8v5sa9+j+hbxITClHADwEQAGENIEynn/rI3T8A9Bg7f3DzLRdATh0XNyc0oI1EQa/94fBf/vT53IDvAPow7/4A==",
    sha256: "5d4949ce57bdff2786a4900d2e8ea0252eab80664641be9b4f2386f69325cf7d",
  },
  Q4_K: {
    stored:
      "ezMJQIeN1MCHiozACCk0/4lq9maKeVgWeXJ5ugd3jYkoSnZwaZk5fIt4qJprhHk5AQUFBQUBBgYDBQAGBgYEAAUEAwYOBQUHAwsFBQcKDAVzb1fI93Rmh2YGeoFnqBaDgFdXNXZ4l2eYenyHliiJafWak5a19pKMlnYmh5SGxQSZn3Zm94SPdnVVmoCGxRaW8DZuQubm7PXh4bP6+omF71f4anBWV0Z3c1eGeGhih7YFem2GVmdkjlZn6HR2RkYUaZr3iXaIiCqIjZlpGImNiLiIhZCotwqFn3iJOIWLqaiAaKnIdnJ4V5Z6d3h5SHZxmKgJdoNoaKh6f4h393h5mHRudqV0cnJmNWVzc5Vl5HV3ZoYDemCWRlR3cnXHB3py",
    sha256: "d8ded90659f60f9e13d0ace54d92fe8d6cbdacb63bb7c97ad5c71bea9b2a41f5",
  },
  Q5_K: {
    stored:
      "PC/GP4aN08CIio3AOTh3/4PRk7GjgYHhgQARo4ExgyHhwQAAhZPhBTEV07OllDWRGNnhwAnYthLX1vhZAuMP90aL79HYKGje/eZUO93791gDDAwMDAMNDggLAA0ODQoACwkHDQ8LCwAHCAwLAQUMDOffoJH/+d0OzQ3lIs9ALQgQv69r/OIvzzHk+QA+QgPS6yQmLVr9FQg93UwOOf2KCCI+7L3/GA7t25sUAB16HSxtMnhC5ujt+OPisvv8jJT/JV85vAANHAUuHI4VlRyPjnw9mQpsGJQ7HNU/hKhcXDyg88bxvqCe8Qe/HuPS1gB+DObNH77f2Q+/wMLp7p6OOtM0/hP7EhFFACsj0zASGwJxEBowUX8EGj/hE3AaGFNhAMBSkOzk8q899P/g85H90iFRA+0G0cFR5P8C///x4yH67/5b+fX13ovsCPg76/kK8N4dCPbgTp3JAPQMrwH35A==",
    sha256: "ec4bf8456bd96eb387c888993d1781fcfa3f1984f75c9797b5bee9e08f4a0275",
  },
  Q6_K: {
    stored:
      "gQQFEwSSPmZh4BFFZ0mlIC9FleERIQGric8NFokPYAEJAQECCwAFBwAADQEJDwsNAQ0DAA4BBgAHAgoEDggGA0/AHuxQ60MR1PMEuJDuVM5hEQD4ynYQ4CQsJlL+NukIghMqLICQA+42jYLrNsbaDhY0kUew/dqWjB0B4vzAEhsGKiEpJgopLRoYBiYtJRcGISIpGAYuIhoqCS0uFhgKIuqIuZGi2rpGml4pV6pVriaYhmZR2WZKVmpmm3pZohqm9PAb8uUrAABPuE3NTHaAhrmn0pnAwV4TL1VfMe7IVgwSHubCNADyz0wwcf4a2yKyIumWsBIeRAcJ7i3l25Dx8fwuvQ8DOXWxAhtFtBHf/wp8l1Ae4j9m19LsOCaNnyMgaUSAIQxJiAA/H4iArvRloJuwLlo+USMiIG8jQfAjr0EAFeq0HhHuxHYkgvHv8TAg49maUiuUuaqp1qRKVZrqaEahnpWYhpqZKpS6WaEWVqqqnqSJkmGpqKqZ5appqWauKahmZq0ad0qpZVloRVriKnlGvUtUSTadYY2IaU1zd7JxgKqq",
    sha256: "52031ae325bebe08cdd65e17f4928ab9ee5fb3568933bdd2c71f8294e89063cb",
  },
} as const;
