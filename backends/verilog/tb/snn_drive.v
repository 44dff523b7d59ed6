// Sends the words of a file as a stream; so many tokens end a sample, and the next begins when it may.
module snn_drive #(
    parameter WIDTH = 1,
    parameter COUNT = 1,
    parameter TOKENS = 1,       // of a sample
    parameter FILE = ""
) (
    input wire clk,
    input wire reset,
    input wire [31:0] limit,    // how many samples may have begun
    output wire valid,
    input wire ready,
    output wire [WIDTH-1:0] data
);
    reg [WIDTH-1:0] words[0:COUNT-1];
    initial $readmemh(FILE, words);

    integer position = 0;
    reg [31:0] ended = 0;
    assign valid = !reset && position < COUNT && ended < limit * TOKENS;
    assign data = words[position < COUNT ? position : 0];
    always @(posedge clk) if (valid && ready) begin
        position <= position + 1;
        if (data[WIDTH-1]) ended <= ended + 1;
    end
endmodule
